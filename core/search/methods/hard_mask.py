"""Hard masks with a surrogate gradient, and the penalty that holds a target faithfulness.

The forward pass uses the circuit that would be deployed, m = [theta > 0] (Gao et al.: Heaviside forward, sigmoid
surrogate backward). So what is trained and what is returned agree. Under soft masks they do not: those can share small
values among many nodes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SURROGATE_WIDTH = 0.5
CPU = torch.device("cpu")


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

    Its state stays in place on the device, in float64 where there is one: a step that adjusts it can be replayed.

    Args:
        target: faithfulness to hold.
        device: where masks are.

    Attributes:
        dtype: of its state.
    """

    START, LOWEST, HIGHEST = 0.3, 0.03, 3.0
    RATE, TOLERANCE, DECAY, FAST_DECAY, WARM_UP = 0.05, 0.05, 0.9, 0.7, 5
    # This far below the target nothing is charged: a circuit that has lost too much at once cannot recover while every
    # node, useful or not, is pulled down.
    GATE = 0.1

    def __init__(self, target: float, device: torch.device = CPU) -> None:
        self.target = target
        self.dtype = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        self._state = torch.tensor([self.START, 1.0, 1.0, 0.0], dtype=self.dtype).to(device)
        self._weight, self._smooth, self._fast, self._steps = self._state.unbind()

    @property
    def weight(self) -> float:
        """Faithfulness that halving the circuit is worth, divided by log 2."""
        return float(self._weight)

    @property
    def smooth(self) -> float:
        """Running mean of faithfulness over about the last ten batches."""
        return float(self._smooth)

    def __call__(self, mask: Tensor) -> Tensor:
        """The penalty on `mask` `[node]`, a scalar."""
        gate = (1 + (self._fast - self.target) / self.GATE).clamp(0.0, 1.0)
        return (gate * self._weight).to(mask.dtype) * torch.log1p(mask.sum())

    def update(self, faithfulness: Tensor | float) -> None:
        """Adjusts the weight to the faithfulness of one batch, a scalar."""
        self._steps.add_(1)
        self._smooth.mul_(self.DECAY).add_((1 - self.DECAY) * faithfulness)
        # Over about the last three batches.
        self._fast.mul_(self.FAST_DECAY).add_((1 - self.FAST_DECAY) * faithfulness)
        excess = ((self._smooth - self.target) / self.TOLERANCE).clamp(-1.0, 1.0)
        adjusted = (self._weight * torch.exp(self.RATE * excess)).clamp(self.LOWEST, self.HIGHEST)
        self._weight.copy_(torch.where(self._steps > self.WARM_UP, adjusted, self._weight))

    def state_dict(self) -> dict[str, Any]:
        """The weight, the running means and the number of steps."""
        weight, smooth, fast, steps = self._state.tolist()
        return {"weight": weight, "smooth": smooth, "fast": fast, "steps": int(steps)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned, in place."""
        values = [state[name] for name in ("weight", "smooth", "fast", "steps")]
        self._state.copy_(torch.tensor(values, dtype=self.dtype))
