"""Where no circuit reaches the target, the smallest that the prompts do not tell from the closest is returned."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny.searches import SearchableProblem, run_search
from torch import Tensor

from circuit_tui.core.evaluation import evaluator as evaluator_module
from circuit_tui.core.runtime.incremental import Incremental
from circuit_tui.core.search.frontier import score
from circuit_tui.core.search.within_resolution import smallest_within_resolution

OUT_OF_REACH = 1 - 1e-9


def half_width(searchable: SearchableProblem, large: Tensor, small: Tensor) -> float:
    """Half of the 95% bootstrap interval of the difference in faithfulness, drawn prompt by prompt in a loop."""
    train = searchable.train
    change = train.measure(large).result().logit_diff - train.measure(small).result().logit_diff
    gap = train.baselines.plain.logit_diff - train.baselines.empty.logit_diff
    groups = [(train.cluster == number).nonzero()[:, 0] for number in train.cluster.unique()]
    generator, ratios = torch.Generator().manual_seed(1), list[float]()
    for _ in range(2000):
        drawn = torch.cat([groups[int(torch.randint(len(groups), (), generator=generator))] for _ in groups])
        ratios.append(float(change[drawn].sum() / gap[drawn].sum()))
    low, high = torch.tensor(ratios).quantile(torch.tensor([0.025, 0.975])).tolist()
    return (high - low) / 2


def test_a_missed_target_gives_the_smallest_that_is_not_told_from_the_closest(
    searchable: Callable[[str], SearchableProblem],
) -> None:
    problem = searchable("gpt2-each")
    search = problem.search("mask", OUT_OF_REACH)
    result = run_search(search)[0]
    assert not result.reached
    frontier, closest = search.attempt.offered.frontier(), search.attempt.offered.best
    assert closest is not None
    sizes = [circuit.size for circuit in frontier]
    chosen = frontier[sizes.index(len(result.nodes))]
    assert torch.equal(chosen.kept, problem.circuit(result.nodes))
    if chosen.size < closest.size:
        half = half_width(problem, closest.kept, chosen.kept)
        assert score(closest.faithfulness) - score(chosen.faithfulness) <= 1.1 * half
        assert any(f"circuit of {closest.size} nodes comes closer" in warning for warning in result.warnings)
    if sizes.index(chosen.size) > 0:
        below = frontier[sizes.index(chosen.size) - 1]
        half = half_width(problem, closest.kept, below.kept)
        assert score(closest.faithfulness) - score(below.faithfulness) >= 0.9 * half


def test_a_wider_interval_lets_a_smaller_circuit_through(
    searchable: Callable[[str], SearchableProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = searchable("gpt2-each").search("atp", OUT_OF_REACH)
    run_search(search)
    attempt, closest = search.attempt, search.attempt.offered.best
    assert closest is not None
    found = []
    for half in (0.0, 0.05, 2.0):
        interval = (-half, half)
        monkeypatch.setattr(evaluator_module, "ratio_interval", lambda *_, interval=interval: interval)
        found.append(Incremental(smallest_within_resolution(attempt, closest)).result())
    assert found[0].size == closest.size
    assert found[0].size >= found[1].size >= found[2].size
    assert found[2].size == attempt.offered.frontier()[0].size
    monkeypatch.setattr(evaluator_module, "ratio_interval", lambda *_: None)
    assert Incremental(smallest_within_resolution(attempt, closest)).result() is closest
