"""Adam (Kingma & Ba 2015, algorithm 1) whose state never moves and whose step asks the device nothing.

The numbers that depend on the step alone, the learning rate and the bias corrections, are worked out beforehand and
looked up by a counter on the device. So a recorded step can be replayed, and its state restored in place. The update is
that of `torch.optim.Adam`, in the same order of operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-8


class Adam:
    """The optimiser of one parameter.

    Args:
        parameter: what is optimised, in place; any shape.
        rates: the learning rate of each step; no more steps can be taken.
        betas: the decay rates of the two moments.
    """

    def __init__(self, parameter: Tensor, rates: Sequence[float], betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self._parameter, self._betas = parameter, betas
        self._first, self._second = (torch.zeros_like(parameter, requires_grad=False) for _ in range(2))
        self._taken = torch.zeros(1, dtype=torch.long, device=parameter.device)
        of_steps = [
            (-rate / (1 - betas[0] ** step), math.sqrt(1 - betas[1] ** step)) for step, rate in enumerate(rates, 1)
        ]
        self._of_steps = torch.tensor(of_steps, dtype=parameter.dtype).reshape(-1, 2).to(parameter.device)

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """Moves the parameter against `gradient`, which has its shape."""
        rate, correction = self._of_steps.index_select(0, self._taken)[0].unbind()
        self._first.lerp_(gradient, 1 - self._betas[0])
        self._second.mul_(self._betas[1]).addcmul_(gradient, gradient, value=1 - self._betas[1])
        root = (self._second.sqrt() / correction).add_(EPSILON)
        self._parameter.add_((self._first * rate).div_(root))
        self._taken.add_(1)

    def state_dict(self) -> dict[str, Any]:
        """The moments, on the CPU, and how many steps have been taken."""
        return {
            "first": self._first.cpu().clone(), "second": self._second.cpu().clone(), "taken": int(self._taken)
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned, in place; version 0.1 stored the state of `torch.optim.Adam`."""
        if "param_groups" in state:
            (own,) = state["state"].values() or ({"exp_avg": 0.0, "exp_avg_sq": 0.0, "step": 0},)
            state = {"first": own["exp_avg"], "second": own["exp_avg_sq"], "taken": int(own["step"])}
        self._first.copy_(torch.as_tensor(state["first"]))
        self._second.copy_(torch.as_tensor(state["second"]))
        self._taken.fill_(state["taken"])
