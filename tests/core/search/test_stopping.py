"""A search that is stopped, paused or dropped: it ends within a step, and what it then returns is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import islice
from typing import Any

import pytest
import torch
from tiny.searches import FinishedSearch, SearchableProblem
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.method import Steps
from circuit_tui.core.search.methods import mask
from circuit_tui.core.search.methods.mask import MaskMethod
from circuit_tui.core.search.registry import METHODS
from circuit_tui.core.search.search import Search
from circuit_tui.core.views import Metrics, SearchProgress


def steps_to_end(search: Search) -> int:
    """How many steps at most come after a stop.

    One more, one frontier point and the report of the end; before that the circuit that is returned is evaluated with
    and without everything else, site by site on every batch of train and test prompts.
    """
    batches = len(search.train.batches) + len(search.test.batches)
    return 3 + 2 * len(search.problem.sites) * batches


def assert_same(got: Metrics, expected: Metrics) -> None:
    for part in fields(Metrics):
        assert getattr(got, part.name) == pytest.approx(getattr(expected, part.name), abs=1e-5), part.name


def assert_ends_well(searchable: SearchableProblem, search: Search) -> list[SearchProgress]:
    search.stop()
    most = steps_to_end(search)
    rest = list(islice(search, most + 1))
    assert len(rest) <= most
    result = search.result
    assert result is not None
    assert result.stopped
    kept = searchable.circuit(result.nodes)
    assert_same(result.train, Evaluator(searchable.problem, "train").evaluate(kept).result())
    assert_same(result.test, Evaluator(searchable.problem, "test").evaluate(kept).result())
    assert result.reached == (1 - abs(1 - result.train.faithfulness) >= result.target)
    assert [point.size for point in result.frontier] == sorted({point.size for point in result.frontier})
    assert result.frontier[-1].size == len(result.nodes)
    return rest


@pytest.mark.parametrize("method", METHODS)
def test_before_the_first_step(searchable: Callable[[str], SearchableProblem], method: str) -> None:
    problem = searchable("gpt2")
    assert_ends_well(problem, problem.search(method, 0.8))


@pytest.mark.parametrize("method", METHODS)
def test_after_any_step(
    searchable: Callable[[str], SearchableProblem], finished_search: Callable[..., FinishedSearch], method: str
) -> None:
    problem, whole = searchable("gpt2"), finished_search("gpt2", method).steps
    assert len({event.stage for event in whole}) > 1
    for cut in sorted({1, len(whole) // 3, 2 * len(whole) // 3, len(whole) - 1}):
        search = problem.search(method, 0.8)
        before = list(islice(search, cut))
        assert [event.size for event in before] == [event.size for event in whole[:cut]]
        after = assert_ends_well(problem, search)
        assert [event.step for event in [*before, *after]] == list(range(1, cut + len(after) + 1))


def far_too_small(search: MaskMethod, theta: Tensor) -> Steps:
    """In place of the optimisation: a circuit of three nodes, which has to grow."""
    theta[3:] = -0.1
    yield search.progress("optimise", (theta > 0).cpu(), 0.4)


@pytest.mark.parametrize(
    "stage",
    ["grow", "drop_in_bulk", "drop_by_probe", "make_minimal", "extend_below_target", "swap_nodes", "reach_target"],
)
def test_within_each_stage_of_the_elimination(
    searchable: Callable[[str], SearchableProblem], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    problem, running = searchable("llama"), []
    original = getattr(mask, stage)

    def watched(*given: Any) -> Iterator[float]:
        for share in original(*given):
            running.append(stage)
            yield share

    monkeypatch.setattr(mask, stage, watched)
    if stage in {"grow", "reach_target"}:
        monkeypatch.setattr(MaskMethod, "_optimise", far_too_small)
    if stage == "reach_target":
        monkeypatch.setattr(mask, "grow", lambda circuit: iter(()))
    search = problem.search("mask", 0.9)
    for _ in search:
        if running:
            break
    assert running, f"{stage} never ran"
    assert_ends_well(problem, search)


def test_a_stop_while_the_frontier_is_evaluated_keeps_the_circuit(
    searchable: Callable[[str], SearchableProblem],
) -> None:
    problem = searchable("llama-each")
    search = problem.search("mask", 0.8)
    for event in search:
        if event.stage == "done":
            break
    best = search.attempt.offered.best
    assert best is not None
    assert_ends_well(problem, search)
    assert search.result is not None
    assert search.result.reached
    assert search.result.nodes == frozenset(best.kept.nonzero()[:, 0].tolist())


def test_stopping_twice_and_after_the_end_changes_nothing(searchable: Callable[[str], SearchableProblem]) -> None:
    search = searchable("gpt2").search("random", 0.8)
    list(search)
    result = search.result
    search.stop()
    assert list(search) == []
    assert search.result is result
    assert result is not None
    assert not result.stopped


def test_a_pause_between_two_steps_changes_nothing(
    searchable: Callable[[str], SearchableProblem], finished_search: Callable[..., FinishedSearch]
) -> None:
    """Another search, and evaluations of another circuit, in between."""
    problem, undisturbed = searchable("gpt2"), finished_search("gpt2", "mask").result
    search, other = problem.search("mask", 0.8), problem.search("published", 0.8, seed=5)
    for step, _ in enumerate(search):
        if step % 10 == 0:
            next(other, None)
            problem.train.evaluate(torch.rand(len(problem.problem.space)) < 0.5).result()
    assert search.result is not None
    assert search.result.nodes == undisturbed.nodes
    assert search.result.frontier == undisturbed.frontier
