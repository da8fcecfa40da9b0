"""How small: against every subset of a few candidates, and that nothing can be left out of what is returned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny.models_with_saes import TinyModel
from tiny.searches import (
    FinishedSearch,
    SearchableProblem,
    run_search,
    solvable_problem,
    with_candidates,
    with_few_latents,
)
from torch import Tensor

from circuit_tui.core.runtime.incremental import Incremental, Increments
from circuit_tui.core.search import eliminate, reach_target
from circuit_tui.core.search.eliminate import make_minimal
from circuit_tui.core.search.judged_circuit import JudgedCircuit
from circuit_tui.core.search.methods import mask
from circuit_tui.core.search.probed_circuit import ProbedCircuit

TARGETS = (0.5, 0.9)
THOROUGH = {"steps": 100, "refine": 100}


def smallest(searchable: SearchableProblem) -> list[float]:
    """For each size the best score that any subset of the candidates of that size has."""
    n = len(searchable.problem.space)
    assert n <= 8
    best = [-float("inf")] * (n + 1)
    for bits in range(2**n):
        kept = torch.tensor([bool(bits >> node & 1) for node in range(n)])
        value = 1 - abs(1 - searchable.train.faithfulness(kept).result())
        best[int(kept.sum())] = max(best[int(kept.sum())], value)
    return best


def assert_minimal(searchable: SearchableProblem, nodes: frozenset[int], target: float) -> None:
    """With all of them the target is reached, without any single one it is not."""
    kept = searchable.circuit(nodes)
    assert searchable.score(kept) >= target - 1e-6
    for node in nodes:
        fewer = kept.clone()
        fewer[node] = False
        assert searchable.score(fewer) < target + 1e-6, node


@pytest.mark.parametrize(("shape", "seed"), [("gpt2", 1), ("llama", 6), ("gemma2", 7)])
def test_as_small_as_trying_all_subsets(
    tiny_model: Callable[[str], TinyModel], tmp_path: Path, shape: str, seed: int
) -> None:
    few = with_few_latents(tiny_model(shape), tmp_path, 4, seed * 10)
    searchable = SearchableProblem.of(solvable_problem(few, seed=seed))
    best, excess = smallest(searchable), []
    assert best[-1] == pytest.approx(1, abs=1e-4)
    assert best[1] < 0.5
    for target in TARGETS:
        size = next(size for size, score in enumerate(best) if score >= target)
        result, _ = run_search(searchable.search(target=target, **THOROUGH))
        assert result.reached
        assert_minimal(searchable, result.nodes, target)
        excess.append(len(result.nodes) - size)
    assert min(excess) >= 0
    assert sum(excess) <= 1


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", ["gpt2-each", "llama", "gemma2-each"])
def test_no_node_of_the_result_can_go(
    searchable: Callable[[str], SearchableProblem], finished_search: Callable[..., FinishedSearch], name: str, seed: int
) -> None:
    problem, result = searchable(name), finished_search(name, "mask", seed).result
    assert result.reached
    assert 1 < len(result.nodes) < len(problem.problem.space) / 2
    assert_minimal(problem, result.nodes, result.target)


@pytest.mark.parametrize(("steps", "lr"), [(0, 0.03), (15, 0.03), (15, 0.5)])
def test_the_target_is_reached_wherever_all_candidates_reach_it(
    tiny_model: Callable[[str], TinyModel], tmp_path: Path, steps: int, lr: float
) -> None:
    """However poor the optimisation: here it gets no time, or ends where gradients promise nothing."""
    few = with_few_latents(tiny_model("llama"), tmp_path, 5, 40)
    problem = SearchableProblem.of(solvable_problem(few, seed=4))
    for target in (0.7, 0.98):
        result, _ = run_search(problem.search(target=target, steps=steps, lr=lr))
        assert result.reached
        assert_minimal(problem, result.nodes, target)


def test_a_target_out_of_reach_ends_in_the_best_there_is(searchable: Callable[[str], SearchableProblem]) -> None:
    whole = searchable("gpt2")
    every = torch.ones(len(whole.problem.space), dtype=torch.bool)
    damage = [
        abs(1 - whole.train.faithfulness(every & (torch.arange(len(every)) != node)).result())
        for node in range(len(every))
    ]
    worst = sorted(range(len(every)), key=lambda node: -damage[node])
    hard = SearchableProblem.of(with_candidates(whole.problem, worst[12:20]))
    best = max(smallest(hard))
    assert best < 0.9
    result, _ = run_search(hard.search(target=0.99))
    assert not result.reached
    assert (
        f"The target 0.99 was not reached: faithfulness on the search prompts is {result.train.faithfulness:.3f}."
        in (result.warnings)
    )
    score = hard.score(hard.circuit(result.nodes))
    assert score == pytest.approx(1 - abs(1 - result.train.faithfulness), abs=1e-6)
    assert score >= best - 0.05
    assert score == max(1 - abs(1 - point.train) for point in result.frontier)


def test_every_node_is_tried_after_the_last_drop(
    searchable: Callable[[str], SearchableProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, tried = searchable("gpt2"), list[int]()
    original = JudgedCircuit.first_alternatives_reach

    def recorded(self: JudgedCircuit, kept: Tensor, wanted: float) -> Incremental[list[bool]]:
        tried.extend((kept[0] != self.kept).nonzero()[:, 0].tolist())
        return original(self, kept, wanted)

    monkeypatch.setattr(JudgedCircuit, "first_alternatives_reach", recorded)
    every = torch.ones(len(problem.problem.space), dtype=torch.bool)
    circuit = ProbedCircuit(problem.search(target=0.85).attempt, every)
    for _ in make_minimal(circuit):
        pass
    left = circuit.nodes
    assert 0 < len(left) < len(every)
    assert sorted(tried[-len(left) :]) == left


def test_whatever_turns_out_best_is_made_minimal(
    searchable: Callable[[str], SearchableProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage that should have done it does nothing: the circuit comes from elsewhere."""
    problem, calls = searchable("gemma2-each"), list[int]()

    def sometimes(circuit: ProbedCircuit) -> Increments[None]:
        calls.append(1)
        if len(calls) > 1:
            yield from make_minimal(circuit)

    for module in (mask, reach_target):
        monkeypatch.setattr(module, "make_minimal", sometimes)
    result, _ = run_search(problem.search(target=0.85, refine=0, steps=15))
    assert len(calls) > 1
    assert result.reached
    assert_minimal(problem, result.nodes, 0.85)


def test_of_a_large_circuit_only_the_likeliest_nodes_are_tried_and_that_is_said(
    searchable: Callable[[str], SearchableProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, measured = searchable("gpt2-each"), list[int]()
    scores = ProbedCircuit.probe_scores_with_first_toggled
    monkeypatch.setattr(eliminate, "MOST_TRIED", 2)
    monkeypatch.setattr(
        ProbedCircuit,
        "probe_scores_with_first_toggled",
        lambda circuit, nodes: (measured.append(nodes[0]), scores(circuit, nodes))[1],
    )
    search = problem.search("mask", 0.9, steps=5, refine=0)
    circuit = ProbedCircuit(search.attempt, torch.ones(len(problem.problem.space), dtype=torch.bool))
    for _ in make_minimal(circuit):
        pass
    assert len(measured) == 2
    assert circuit.untried == len(problem.problem.space) - 2
    result = run_search(search)[0]
    assert ("not tried alone" in " ".join(result.warnings)) is (len(result.nodes) > 2)
