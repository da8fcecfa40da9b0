"""How small: against every subset of a few candidates, and that nothing can be left out of what is returned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny.searched import Finished, Searched, able_problem, among, finish, with_few_latents
from tiny.world import World

from circuit_tui.core.runtime.incremental import Increments
from circuit_tui.core.search import reach_target
from circuit_tui.core.search.eliminate import make_minimal
from circuit_tui.core.search.methods import mask
from circuit_tui.core.search.probed_circuit import ProbedCircuit

TARGETS = (0.5, 0.9)
THOROUGH = {"steps": 100, "refine": 100}


def smallest(searched: Searched) -> list[float]:
    """For each size the best score that any subset of the candidates of that size has."""
    n = len(searched.problem.space)
    assert n <= 8
    best = [-float("inf")] * (n + 1)
    for bits in range(2**n):
        kept = torch.tensor([bool(bits >> node & 1) for node in range(n)])
        value = 1 - abs(1 - searched.train.faithfulness(kept).result())
        best[int(kept.sum())] = max(best[int(kept.sum())], value)
    return best


def assert_minimal(searched: Searched, nodes: frozenset[int], target: float) -> None:
    """With all of them the target is reached, without any single one it is not."""
    kept = searched.circuit(nodes)
    assert searched.score(kept) >= target - 1e-6
    for node in nodes:
        fewer = kept.clone()
        fewer[node] = False
        assert searched.score(fewer) < target + 1e-6, node


@pytest.mark.parametrize(("shape", "seed"), [("gpt2", 1), ("llama", 6), ("gemma2", 7)])
def test_as_small_as_trying_all_subsets(world: Callable[[str], World], tmp_path: Path, shape: str, seed: int) -> None:
    few = with_few_latents(world(shape), tmp_path, 4, seed * 10)
    searched = Searched.of(able_problem(few, seed=seed))
    best, excess = smallest(searched), []
    assert best[-1] == pytest.approx(1, abs=1e-4)
    assert best[1] < 0.5
    for target in TARGETS:
        size = next(size for size, score in enumerate(best) if score >= target)
        result, _ = finish(searched.search(target=target, **THOROUGH))
        assert result.reached
        assert_minimal(searched, result.nodes, target)
        excess.append(len(result.nodes) - size)
    assert min(excess) >= 0
    assert sum(excess) <= 1


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", ["gpt2-each", "llama", "gemma2-each"])
def test_no_node_of_the_result_can_go(
    searched: Callable[[str], Searched], finished: Callable[..., Finished], name: str, seed: int
) -> None:
    problem, result = searched(name), finished(name, "mask", seed).result
    assert result.reached
    assert 1 < len(result.nodes) < len(problem.problem.space) / 2
    assert_minimal(problem, result.nodes, result.target)


@pytest.mark.parametrize(("steps", "lr"), [(0, 0.03), (15, 0.03), (15, 0.5)])
def test_the_target_is_reached_wherever_all_candidates_reach_it(
    world: Callable[[str], World], tmp_path: Path, steps: int, lr: float
) -> None:
    """However poor the optimisation: here it gets no time, or ends where gradients promise nothing."""
    few = with_few_latents(world("llama"), tmp_path, 5, 40)
    problem = Searched.of(able_problem(few, seed=4))
    for target in (0.7, 0.98):
        result, _ = finish(problem.search(target=target, steps=steps, lr=lr))
        assert result.reached
        assert_minimal(problem, result.nodes, target)


def test_a_target_out_of_reach_ends_in_the_best_there_is(searched: Callable[[str], Searched]) -> None:
    whole = searched("gpt2")
    every = torch.ones(len(whole.problem.space), dtype=torch.bool)
    damage = [
        abs(1 - whole.train.faithfulness(every & (torch.arange(len(every)) != node)).result())
        for node in range(len(every))
    ]
    worst = sorted(range(len(every)), key=lambda node: -damage[node])
    hard = Searched.of(among(whole.problem, worst[12:20]))
    best = max(smallest(hard))
    assert best < 0.9
    result, _ = finish(hard.search(target=0.99))
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
    searched: Callable[[str], Searched], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, tried = searched("gpt2"), list[int]()
    original = ProbedCircuit.drop_if_reached

    def recorded(self: ProbedCircuit, nodes: list[int]) -> Increments[bool]:
        tried.extend(nodes)
        return original(self, nodes)

    monkeypatch.setattr(ProbedCircuit, "drop_if_reached", recorded)
    every = torch.ones(len(problem.problem.space), dtype=torch.bool)
    circuit = ProbedCircuit(problem.search(target=0.85).attempt, every)
    for _ in make_minimal(circuit):
        pass
    left = circuit.nodes
    assert 0 < len(left) < len(every)
    assert sorted(tried[-len(left) :]) == left


def test_whatever_turns_out_best_is_made_minimal(
    searched: Callable[[str], Searched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage that should have done it does nothing: the circuit comes from elsewhere."""
    problem, calls = searched("gemma2-each"), list[int]()

    def sometimes(circuit: ProbedCircuit) -> Increments[None]:
        calls.append(1)
        if len(calls) > 1:
            yield from make_minimal(circuit)

    for module in (mask, reach_target):
        monkeypatch.setattr(module, "make_minimal", sometimes)
    result, _ = finish(problem.search(target=0.85, refine=0, steps=15))
    assert len(calls) > 1
    assert result.reached
    assert_minimal(problem, result.nodes, 0.85)
