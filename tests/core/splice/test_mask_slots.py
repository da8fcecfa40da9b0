"""A mask's values in the slots of the packs: those of plain indexing, and so is the gradient, which adds nothing up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny.gradients import gradient, random_mask
from tiny.models_with_saes import TinyModel
from tiny.problems import open_problem
from tiny.tasks import TASKS
from torch.utils._python_dispatch import TorchDispatchMode

from circuit_tui.core.evaluation.evaluator import pack_circuit
from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.splice.mask_slots import MaskSlots
from circuit_tui.core.splice.problem import Problem


class Names(TorchDispatchMode):
    """The names of the operations that run within it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(func.overloadpacket).removeprefix("aten."))
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def problem(tiny_model: Callable[[str], TinyModel]) -> Problem:
    return open_problem(tiny_model("gpt2"), TASKS["roles"], "each")


@pytest.mark.parametrize("share", [1.0, 0.4, 0.0])
def test_values_and_gradient_are_those_of_indexing(problem: Problem, share: float) -> None:
    kept = torch.rand(len(problem.space), generator=torch.Generator().manual_seed(1)) < share
    active, packs = kept.nonzero()[:, 0], pack_circuit(problem, kept)
    mask = torch.rand(len(active), generator=torch.Generator().manual_seed(2))
    index_of = torch.full((len(problem.space) + 1,), len(active))
    index_of[active] = torch.arange(len(active))
    one, other = mask.clone().requires_grad_(), mask.clone().requires_grad_()
    slots = MaskSlots(packs, active, len(problem.space))
    with Names() as names:
        found = slots(one)
        weights = [torch.arange(1.0, len(values) + 1) for values in found]
        sum((values * weight).sum() for values, weight in zip(found, weights, strict=True)).backward()  # type: ignore[union-attr]
    assert [len(values) for values in found] == [len(pack.nodes) for pack in packs]
    assert not [name for name in names.seen if "index_put" in name or "index_add" in name or "scatter" in name]
    padded = torch.cat([other, other.new_zeros(1)])
    expected = [padded[index_of[pack.nodes]] for pack in packs]
    sum((values * weight).sum() for values, weight in zip(expected, weights, strict=True)).backward()  # type: ignore[union-attr]
    for got, right in zip(found, expected, strict=True):
        assert torch.equal(got, right)
    assert one.grad is not None
    assert other.grad is not None
    assert torch.equal(one.grad, other.grad)


def test_a_step_has_the_gradient_of_indexing_to_the_last_bit(problem: Problem) -> None:
    value, masked = random_mask(problem), MaskedModel(problem, torch.arange(len(problem.space)))
    mask = value.clone().requires_grad_()
    differences = [masked.logit_difference(mask, batch) for batch in problem.batches("train")]
    torch.cat(differences).mean().backward()  # type: ignore[no-untyped-call]
    assert mask.grad is not None
    assert bool(mask.grad.any())
    assert torch.equal(mask.grad, gradient(problem, value))
