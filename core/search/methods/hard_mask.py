"""Hard masks with a surrogate gradient, and the penalty that holds a target faithfulness.

The forward pass uses the circuit that would be deployed, m = [theta > 0] (Gao et al.: Heaviside forward, sigmoid
surrogate backward). So what is trained and what is returned agree. Under soft masks they do not: those can share small
values among many nodes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

SURROGATE_WIDTH = 0.5


class _HardMask(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, theta: Tensor) -> Tensor:
        ctx.save_for_backward(torch.sigmoid(theta / SURROGATE_WIDTH))
        return (theta > 0).to(theta.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (soft,) = ctx.saved_tensors
        # The sigmoid's slope scaled to 1 at the threshold: the optimiser's step size is then in units of theta.
        surrogate: Tensor = grad * 4 * soft * (1 - soft)
        return surrogate


def hard_mask(theta: Tensor) -> Tensor:
    """[theta > 0] as 0.0 and 1.0, `[node]`; its gradient is that of a sigmoid of width `SURROGATE_WIDTH`."""
    result: Tensor = _HardMask.apply(theta)  # type: ignore[no-untyped-call]
    return result


class TargetPenalty:
    """A penalty on the logarithm of the size that grows while faithfulness is above the target and shrinks below it.

    With a logarithm the price of one node is weight / size. It rises as the circuit shrinks, and one range of weights
    serves circuits of ten nodes and of ten thousand.

    Args:
        target: faithfulness to hold.

    Attributes:
        weight: faithfulness that halving the circuit is worth, divided by log 2.
        smooth: running mean of faithfulness over about the last ten batches.
        fast: running mean over about the last three.
    """

    START, LOWEST, HIGHEST = 0.3, 0.03, 3.0
    RATE, TOLERANCE, DECAY, FAST_DECAY, WARM_UP = 0.05, 0.05, 0.9, 0.7, 5
    # This far below the target nothing is charged: a circuit that has lost too much at once cannot recover while every
    # node, useful or not, is pulled down.
    GATE = 0.1

    def __init__(self, target: float) -> None:
        self.target = target
        self.weight = self.START
        self.smooth = self.fast = 1.0
        self._steps = 0

    def __call__(self, mask: Tensor) -> Tensor:
        """The penalty on `mask` `[node]`, a scalar."""
        gate = min(1.0, max(0.0, 1 + (self.fast - self.target) / self.GATE))
        return gate * self.weight * torch.log1p(mask.sum())

    def update(self, faithfulness: float) -> None:
        """Adjusts the weight to the faithfulness of one batch."""
        self._steps += 1
        self.smooth = self.DECAY * self.smooth + (1 - self.DECAY) * faithfulness
        self.fast = self.FAST_DECAY * self.fast + (1 - self.FAST_DECAY) * faithfulness
        if self._steps > self.WARM_UP:
            excess = (self.smooth - self.target) / self.TOLERANCE
            self.weight *= math.exp(self.RATE * min(1.0, max(-1.0, excess)))
            self.weight = min(max(self.weight, self.LOWEST), self.HIGHEST)

    def state_dict(self) -> dict[str, Any]:
        """The weight, the running means and the number of steps."""
        return {"weight": self.weight, "smooth": self.smooth, "fast": self.fast, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.weight, self._steps = state["weight"], state["steps"]
        self.smooth, self.fast = state["smooth"], state["fast"]
