"""Hard masks with a surrogate gradient, and the penalty that holds a target faithfulness.

The forward pass uses the circuit that would be deployed, m = [theta > 0] (Gao et al.: Heaviside forward, sigmoid
surrogate backward), so what is trained and what is returned agree; soft masks can share small values among many nodes
and do not.
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
    """[theta > 0] as 0.0 and 1.0, `[node]`; backward as if it were a sigmoid of width `SURROGATE_WIDTH`."""
    result: Tensor = _HardMask.apply(theta)  # type: ignore[no-untyped-call]
    return result


class TargetPenalty:
    """A penalty on the logarithm of the size that grows while faithfulness is above the target and shrinks below it.

    Of a logarithm the price of one node is weight / size: it rises as the circuit shrinks, and one range of weights
    serves circuits of ten nodes and of ten thousand.

    Args:
        target: faithfulness to hold.

    Attributes:
        weight: faithfulness that halving the circuit is worth, divided by log 2.
        smooth: running faithfulness of about the last ten batches; `fast` of the last three.
    """

    START, LOWEST, HIGHEST = 0.3, 0.03, 3.0
    RATE, BAND, MEMORY, FAST_MEMORY, WARM_UP = 0.05, 0.05, 0.9, 0.7, 5
    # So far below the target nothing is charged at all: a circuit that has lost too much at once cannot find back while
    # every node, useful or not, is pulled down.
    GATE = 0.1

    def __init__(self, target: float) -> None:
        self.target = target
        self.weight = self.START
        self.smooth = self.fast = 1.0
        self._steps = 0

    def __call__(self, mask: Tensor) -> Tensor:
        """The penalty, a scalar, of `mask` `[node]`."""
        gate = min(1.0, max(0.0, 1 + (self.fast - self.target) / self.GATE))
        return gate * self.weight * torch.log1p(mask.sum())

    def update(self, faithfulness: float) -> None:
        """Takes in the faithfulness of one batch."""
        self._steps += 1
        self.smooth = self.MEMORY * self.smooth + (1 - self.MEMORY) * faithfulness
        self.fast = self.FAST_MEMORY * self.fast + (1 - self.FAST_MEMORY) * faithfulness
        if self._steps > self.WARM_UP:
            excess = (self.smooth - self.target) / self.BAND
            self.weight *= math.exp(self.RATE * min(1.0, max(-1.0, excess)))
            self.weight = min(max(self.weight, self.LOWEST), self.HIGHEST)

    def state_dict(self) -> dict[str, Any]:
        """What it has come to."""
        return {"weight": self.weight, "smooth": self.smooth, "fast": self.fast, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`."""
        self.weight, self._steps = state["weight"], state["steps"]
        self.smooth, self.fast = state["smooth"], state["fast"]
