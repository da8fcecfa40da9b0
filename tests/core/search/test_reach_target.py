"""Into the band around 1 that the target leaves, from below and from beyond, by the prefixes of a ranking."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from tiny.searches import SearchableProblem
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.probed_circuit import ProbedCircuit
from circuit_tui.core.search.reach_target import reach_target

TARGET = 0.98


def prefix(order: Tensor, count: int) -> Tensor:
    kept = torch.zeros(len(order), dtype=torch.bool)
    kept[order[:count]] = True
    return kept


def overshooting(problem: SearchableProblem) -> tuple[Tensor, list[float]]:
    """A ranking with a prefix beyond the band that no single node leaps over, and faithfulness of all its prefixes."""
    evaluator, n = Evaluator(problem.problem, "train"), len(problem.problem.space)
    for seed in range(50):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        values = [evaluator.faithfulness(prefix(order, count)).result() for count in range(n + 1)]
        beyond = next((count for count, value in enumerate(values) if value > 2 - TARGET), None)
        if beyond is None:
            continue
        leaps = [sorted(pair) for pair in pairwise(values[: beyond + 1])]
        if not any(low < TARGET and high > 2 - TARGET for low, high in leaps):
            return order, values
    raise AssertionError("no ranking does")


@pytest.mark.parametrize("start", ["nothing", "too many"])
def test_where_faithfulness_comes_to_lie_beyond_1_the_prefix_in_between_is_found(
    searchable: Callable[[str], SearchableProblem], start: str
) -> None:
    problem = searchable("gpt2-each")
    order, values = overshooting(problem)
    beyond = next(count for count, value in enumerate(values) if value > 2 - TARGET)
    circuit = ProbedCircuit(problem.search(target=TARGET).attempt, prefix(order, 0 if start == "nothing" else beyond))
    for _ in reach_target(circuit, order):
        pass
    count = len(circuit.nodes)
    assert torch.equal(circuit.kept, prefix(order, count))
    assert circuit.judgement.faithfulness == pytest.approx(values[count], abs=1e-5)
    assert TARGET - 1e-5 <= values[count] <= 2 - TARGET + 1e-5
    if start == "too many":
        assert count < beyond


def test_what_cannot_be_reached_leaves_the_circuit_as_it_was(searchable: Callable[[str], SearchableProblem]) -> None:
    problem = searchable("gpt2-each")
    order, _ = overshooting(problem)
    circuit = ProbedCircuit(problem.search(target=TARGET).attempt, prefix(order, 3))
    circuit.attempt.score_reaches = lambda score: False  # type: ignore[method-assign]
    for _ in reach_target(circuit, order):
        pass
    assert torch.equal(circuit.kept, prefix(order, 3))
