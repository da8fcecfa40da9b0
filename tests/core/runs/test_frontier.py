"""Frontiers: checked against values worked out by hand, and point by point against the definitions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny.records import points

from circuit_tui.core.runs.frontier import area, chosen_for_level, frontier, held_out_faithfulness, nodes_needed
from circuit_tui.core.runs.record import RunPoint
from circuit_tui.core.search.frontier import score

# (size, train, test). 4 nodes are worse than 2 on train, 20 overshoot by more than 10 fall short.
ROWS = ((2, 0.5, 0.4), (4, 0.45, 0.9), (10, 0.9, 0.7), (20, 1.2, 1.0), (40, 0.98, 1.1))


def test_the_search_prompts_choose() -> None:
    assert [point.size for point in frontier(points(*ROWS))] == [2, 10, 40]


def test_one_size_keeps_the_best_on_train() -> None:
    found = frontier(points((5, 0.6, 0.99), (5, 0.7, 0.1), (5, 1.5, 1.0)))
    assert [(point.train, point.test) for point in found] == [(0.7, 0.1)]


def test_nodes_needed_are_read_on_held_out_prompts() -> None:
    found = frontier(points(*ROWS))
    assert nodes_needed(found, 0.4) == 2
    assert nodes_needed(found, 0.7) == 10
    assert nodes_needed(found, 0.89) == 40, "0.9 of 4 nodes was not chosen by the search prompts; 1.1 is 0.1 off"
    assert nodes_needed(found, 0.95) is None
    chosen = chosen_for_level(found, 0.95)
    assert chosen is not None
    assert (chosen.size, chosen.test) == (40, 1.1)
    assert chosen_for_level(found, 0.99) is None


def test_the_area_by_hand() -> None:
    found = frontier(points(*ROWS))
    # |1 - f|: 1 up to 2 nodes, 0.6 up to 10, 0.3 up to 40, 0.1 up to 100.
    expected = (
        math.log(2) * 1 + math.log(10 / 2) * 0.6 + math.log(40 / 10) * 0.3 + math.log(100 / 40) * 0.1
    ) / math.log(100)
    assert area(found, 100) == pytest.approx(expected, abs=1e-12)
    assert area((), 100) == 1
    assert area(points((1, 1.0, 1.0)), 100) == 0
    assert area(points((1, 1.0, 0.8)), 1) == pytest.approx(0.2)


def test_between_two_circuits_the_smaller_counts() -> None:
    found = points((2, 0.5, 0.4), (10, 0.9, 0.7))
    assert [held_out_faithfulness(found, size) for size in (1, 2, 9, 10, 50)] == [0.0, 0.4, 0.4, 0.7, 0.7]


faithful = st.floats(-0.5, 1.5, allow_nan=False)
any_points = st.lists(
    st.builds(
        lambda size, train, test: RunPoint(size=size, train=train, test=test), st.integers(1, 60), faithful, faithful
    ),
    max_size=25,
)


@given(any_points)
def test_a_frontier_is_what_no_smaller_circuit_equals(given_points: list[RunPoint]) -> None:
    found = frontier(given_points)
    for point in found:
        assert point in given_points
        assert all(score(other.train) < score(point.train) for other in given_points if other.size < point.size)
    for point in given_points:  # a point that was left out is equalled by one that is no larger
        assert any(kept.size <= point.size and score(kept.train) >= score(point.train) for kept in found)
    assert frontier(found) == found


@given(any_points, st.integers(2, 200))
def test_the_area_is_a_sum_over_fine_steps(given_points: list[RunPoint], candidates: int) -> None:
    found = frontier(given_points)
    fine = 4000
    middles = [candidates ** ((step + 0.5) / fine) for step in range(fine)]
    mean = sum(abs(1 - held_out_faithfulness(found, math.floor(middle + 1e-9))) for middle in middles) / fine
    assert area(found, candidates) == pytest.approx(mean, abs=0.02)
