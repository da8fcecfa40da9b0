"""One step of the mask method's optimisation, all of it on tensors that stay where they are."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from circuit_tui.core.search.adam import Adam
from circuit_tui.core.search.methods.hard_mask import TargetPenalty, hard_mask
from circuit_tui.core.search.minibatches import MiniBatch
from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.splice.batch import Batch

THETA_LIMIT = 2.0
# The learning rate falls to this share of itself over the second half: at the full rate nodes near the threshold go on
# flipping, and the last mask is a draw from many.
LAST_RATE = 0.1


class Held(Protocol):
    """A loss that holds one or more conditions."""

    def __call__(self, masked: MaskedModel, mask: Tensor, batch: Batch | MiniBatch) -> tuple[Tensor, Tensor]:
        """The loss under `mask` `[active]`, differentiable, and what each condition reached, `[condition]`."""


class MaskStep:
    """Forward, backward, penalty, Adam and clamp.

    Nothing in a step waits for the device, depends on its numbers or makes a tensor that the next step needs: a graph
    that has recorded one can replay all others.

    Args:
        theta: `[node]`, optimised in place; a node is kept where it is positive.
        penalty: what holds the target.
        held: the loss, and what it holds.
        n_steps: the number of all steps.
        rate: the learning rate of the first half.

    Attributes:
        adam: the optimiser.
        loss: the loss of the last step without the penalty, a scalar.
    """

    def __init__(self, theta: Tensor, penalty: TargetPenalty, held: Held, n_steps: int, rate: float) -> None:
        self.theta, self.penalty, self._held = theta, penalty, held
        rates = [rate * min(1.0, 2 * (1 - step / n_steps) + LAST_RATE) for step in range(n_steps)]
        self.adam = Adam(theta, rates, betas=(0.9, 0.99))
        self.loss = torch.zeros((), device=theta.device)

    def __call__(self, masked: MaskedModel, batch: Batch | MiniBatch) -> None:
        """Takes a step on the prompts of `batch`; nodes that are not active in `masked` feel the penalty alone."""
        mask = hard_mask(self.theta)
        loss, reached = self._held(masked, mask.index_select(0, masked.active_on_device), batch)
        (gradient,) = torch.autograd.grad(loss + self.penalty(mask), self.theta)
        with torch.no_grad():
            self.adam.step(gradient)
            self.penalty.update(reached.to(self.penalty.dtype))
            self.theta.clamp_(-THETA_LIMIT, THETA_LIMIT)
            self.loss.copy_(loss.detach())
