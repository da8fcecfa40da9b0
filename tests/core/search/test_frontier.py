"""The frontier: real circuits, ascending in size and in score, with the numbers a fresh evaluation gives."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from tiny.searches import FinishedSearch, SearchableProblem, run_search

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search import result as result_module
from circuit_tui.core.search import search as search_module
from circuit_tui.core.search.registry import METHODS


@pytest.mark.parametrize("method", METHODS)
def test_every_point_is_a_circuit_evaluated_afresh(
    searchable: Callable[[str], SearchableProblem], finished_search: Callable[..., FinishedSearch], method: str
) -> None:
    problem, done = searchable("llama-each"), finished_search("llama-each", method)
    result, offered = done.result, done.offered
    train, test = Evaluator(problem.problem, "train"), Evaluator(problem.problem, "test")
    assert result.frontier
    for point in result.frontier:
        own = [kept for kept in offered if int(kept.sum()) == point.size]
        found = [(train.faithfulness(kept).result(), test.faithfulness(kept).result()) for kept in own]
        assert any((one, other) == pytest.approx((point.train, point.test), abs=1e-5) for one, other in found), point
    kept = problem.circuit(result.nodes)
    for metrics, evaluator in ((result.train, train), (result.test, test)):
        fresh = evaluator.evaluate(kept).result()
        assert metrics.faithfulness == pytest.approx(fresh.faithfulness, abs=1e-5)
        assert metrics.completeness == pytest.approx(fresh.completeness, abs=1e-5)
        assert metrics.kl == pytest.approx(fresh.kl, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_sizes_and_scores_ascend_and_end_in_the_result(
    finished_search: Callable[..., FinishedSearch], method: str
) -> None:
    result = finished_search("llama-each", method).result
    points = result.frontier
    for small, large in pairwise(points):
        assert small.size < large.size
        assert 1 - abs(1 - small.train) < 1 - abs(1 - large.train)
    last = points[-1]
    assert last.size == len(result.nodes)
    assert (last.train, last.test) == pytest.approx((result.train.faithfulness, result.test.faithfulness), abs=1e-5)
    if method not in {"published", "hard-concrete"}:
        assert len(points) > 3
        assert points[0].size <= 2


def test_a_long_frontier_is_thinned_but_keeps_its_end(
    searchable: Callable[[str], SearchableProblem],
    finished_search: Callable[..., FinishedSearch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = finished_search("llama-each", "mask").result
    assert len(whole.frontier) > 4
    monkeypatch.setattr(result_module, "FRONTIER_POINTS", 4)
    thinned, _ = run_search(searchable("llama-each").search("mask", 0.8))
    assert 2 <= len(thinned.frontier) <= 4
    assert set(thinned.frontier) < set(whole.frontier)
    assert thinned.frontier[-1] == whole.frontier[-1]


def test_the_frontier_can_be_looked_at_on_the_way_and_its_circuits_taken(
    searchable: Callable[[str], SearchableProblem],
) -> None:
    problem = searchable("llama-each")
    search = problem.search("mask", 0.8)
    assert search.frontier() == ()
    train = Evaluator(problem.problem, "train")
    looks = []
    for index, _ in enumerate(search):
        if index % 10 == 0:
            looks.append(search.frontier())
    assert sum(bool(points) for points in looks) > 2
    for points in looks:
        assert all(point.test is None for point in points) or search.result is not None
        for small, large in pairwise(points):
            assert small.size < large.size
            assert 1 - abs(1 - small.train) < 1 - abs(1 - large.train)
    for point in search.frontier():
        found = search.circuit(point.size)
        assert found is not None
        size, faithfulness, kept, _score = found
        assert int(kept.sum()) == size == point.size
        assert faithfulness == point.train == pytest.approx(train.faithfulness(kept).result(), abs=1e-5)
    assert search.circuit(10**6) is None


@pytest.mark.parametrize("limit", [4, 200])
def test_at_the_end_the_frontier_holds_the_points_of_the_result(
    finished_search: Callable[..., FinishedSearch], monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(search_module, "SHOWN_POINTS", limit)
    done = finished_search("llama-each", "mask")
    result, shown = done.result, done.search.frontier()
    assert set(result.frontier) <= set(shown)
    assert len(shown) <= limit + len(result.frontier)
    sizes = {point.size for point in result.frontier}
    assert all(point.test is None for point in shown if point.size not in sizes)
