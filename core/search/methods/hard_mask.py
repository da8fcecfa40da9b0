"""Hard masks with a surrogate gradient, and the penalty that holds a target faithfulness.

The forward pass uses the circuit that would be deployed, m = [theta > 0] (Gao et al.: Heaviside forward, sigmoid
surrogate backward). So what is trained and what is returned agree. Under soft masks they do not: those can share small
values among many nodes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.runtime.machine import precise_dtype

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
        target: faithfulness to hold, or the score of whatever is held in its place.
        device: where masks are.
        n_conditions: how many conditions are held. The worst off decides, after each has been averaged over batches.

    Attributes:
        dtype: of its state.
    """

    START, LOWEST, HIGHEST = 0.3, 0.03, 3.0
    RATE, TOLERANCE, DECAY, FAST_DECAY, WARM_UP = 0.05, 0.05, 0.9, 0.7, 5
    # This far below the target nothing is charged: a circuit that has lost too much at once cannot recover while every
    # node, useful or not, is pulled down.
    GATE = 0.1

    def __init__(self, target: float, device: torch.device = CPU, n_conditions: int = 1) -> None:
        self.target = target
        self.dtype = precise_dtype(device)
        self._state = torch.tensor([self.START, 0.0, *[1.0] * (2 * n_conditions)], dtype=self.dtype).to(device)
        (self._weight, self._steps), means = self._state[:2].unbind(), self._state[2:]
        self._smooth, self._fast = means[:n_conditions], means[n_conditions:]

    @property
    def weight(self) -> float:
        """Faithfulness that halving the circuit is worth, divided by log 2."""
        return float(self._weight)

    @property
    def smooth(self) -> float:
        """Running mean over about the last ten batches, of faithfulness or of the condition that is worst off."""
        return float(self._smooth.min())

    def __call__(self, mask: Tensor) -> Tensor:
        """The penalty on `mask` `[node]`, a scalar."""
        gate = (1 + (self._fast.min() - self.target) / self.GATE).clamp(0.0, 1.0)
        return (gate * self._weight).to(mask.dtype) * torch.log1p(mask.sum())

    def update(self, reached: Tensor | float) -> None:
        """Adjusts the weight to what one batch reached: faithfulness, a scalar, or each condition, `[condition]`.

        A condition that was not measured is nan, and stays as it was.
        """
        self._steps.add_(1)
        now = torch.as_tensor(reached, dtype=self.dtype, device=self._state.device)
        for means, decay in ((self._smooth, self.DECAY), (self._fast, self.FAST_DECAY)):
            means.copy_(torch.where(now.isnan(), means, decay * means + (1 - decay) * now))
        excess = ((self._smooth.min() - self.target) / self.TOLERANCE).clamp(-1.0, 1.0)
        adjusted = (self._weight * torch.exp(self.RATE * excess)).clamp(self.LOWEST, self.HIGHEST)
        self._weight.copy_(torch.where(self._steps > self.WARM_UP, adjusted, self._weight))

    def state_dict(self) -> dict[str, Any]:
        """The weight, the running means and the number of steps."""
        smooth, fast = self._smooth.tolist(), self._fast.tolist()
        return {"weight": float(self._weight), "smooth": smooth, "fast": fast, "steps": int(self._steps)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned, in place; a version that knew one condition stored numbers."""
        means = [torch.as_tensor(state[name], dtype=self.dtype).reshape(-1) for name in ("smooth", "fast")]
        self._state.copy_(torch.cat([torch.tensor([state["weight"], state["steps"]], dtype=self.dtype), *means]))
