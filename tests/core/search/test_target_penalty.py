"""The penalty that holds a target: its price, its gate, and that a collapse is not made worse."""

from __future__ import annotations

import math

import torch

from circuit_tui.core.search.methods.hard_mask import TargetPenalty


def test_the_price_of_a_node_is_the_weight_over_the_size() -> None:
    penalty, mask = TargetPenalty(0.95), torch.ones(9, requires_grad=True)
    penalty(mask).backward()
    assert mask.grad is not None
    assert torch.allclose(mask.grad, torch.full((9,), penalty.START / 10))


def test_it_rises_above_the_target_and_falls_below() -> None:
    above, below = TargetPenalty(0.9), TargetPenalty(0.9)
    for _ in range(40):
        above.update(1.0)
        below.update(0.5)
    assert above.weight > above.START > below.weight
    assert above.weight <= above.HIGHEST
    assert below.weight >= below.LOWEST


def test_far_below_the_target_nothing_is_charged_and_at_it_everything() -> None:
    penalty = TargetPenalty(0.9)
    mask = torch.ones(5)
    assert math.isclose(float(penalty(mask)), penalty.weight * math.log(6), rel_tol=1e-6)
    for _ in range(30):
        penalty.update(0.9 - penalty.GATE / 2)
    assert math.isclose(float(penalty(mask)), penalty.weight * math.log(6) / 2, rel_tol=1e-3)
    for _ in range(30):
        penalty.update(0.2)
    assert float(penalty(mask)) == 0.0
