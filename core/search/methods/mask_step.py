"""One step of the mask method's optimisation, all of it on tensors that stay where they are."""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.evaluation.metrics import Baselines
from circuit_tui.core.search.adam import Adam
from circuit_tui.core.search.methods.hard_mask import TargetPenalty, hard_mask
from circuit_tui.core.search.minibatches import MiniBatch
from circuit_tui.core.search.objective import MaskedModel, faithfulness_loss
from circuit_tui.core.splice.batch import Batch

THETA_LIMIT = 2.0
# The learning rate falls to this share of itself over the second half: at the full rate nodes near the threshold go on
# flipping, and the last mask is a draw from many.
LAST_RATE = 0.1
PER_PROMPT_WEIGHT = 0.1


class MaskStep:
    """Forward, backward, penalty, Adam and clamp.

    Nothing in a step waits for the device, depends on its numbers or makes a tensor that the next step needs: a graph
    that has recorded one can replay all others.

    Args:
        theta: `[node]`, optimised in place; a node is kept where it is positive.
        penalty: what holds the target.
        baselines: of the search prompts.
        n_steps: the number of all steps.
        rate: the learning rate of the first half.

    Attributes:
        adam: the optimiser.
        loss: the loss of the last step without the penalty, a scalar.
    """

    def __init__(self, theta: Tensor, penalty: TargetPenalty, baselines: Baselines, n_steps: int, rate: float) -> None:
        self.theta, self.penalty = theta, penalty
        rates = [rate * min(1.0, 2 * (1 - step / n_steps) + LAST_RATE) for step in range(n_steps)]
        self.adam = Adam(theta, rates, betas=(0.9, 0.99))
        self.loss = torch.zeros((), device=theta.device)
        self._plain = baselines.plain.logit_diff.to(theta.device)
        self._gap, self._empty = baselines.gap, baselines.empty.mean_logit_diff

    def __call__(self, masked: MaskedModel, batch: Batch | MiniBatch) -> None:
        """Takes a step on the prompts of `batch`; nodes that are not active in `masked` feel the penalty alone."""
        mask = hard_mask(self.theta)
        plain = self._plain.index_select(0, batch.prompts)
        error = masked.logit_difference(mask.index_select(0, masked.active_on_device), batch) - plain
        loss = faithfulness_loss(error, self._gap, PER_PROMPT_WEIGHT)
        (gradient,) = torch.autograd.grad(loss + self.penalty(mask), self.theta)
        with torch.no_grad():
            self.adam.step(gradient)
            mean = (error.detach() + plain).mean()
            self.penalty.update((mean.to(self.penalty.dtype) - self._empty) / self._gap)
            self.theta.clamp_(-THETA_LIMIT, THETA_LIMIT)
            self.loss.copy_(loss.detach())
