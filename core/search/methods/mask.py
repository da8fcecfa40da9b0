"""Our search: one run, no penalty to tune, the user gives the target.

1. Optimise hard masks straight through (`hard_mask.py`) on mini-batches. The loss is the published one, the error of
   the mean logit difference, plus the mean error of single prompts, so that errors do not cancel, plus a penalty on the
   logarithm of the size that is steered to hold the target.
2. Grow, if the circuit misses the target: add the nodes whose gradient promises most, and if that does not do, ever
   more of those nearest to being kept (`reach_target.py`).
3. Eliminate (`eliminate.py`): many nodes at a time, then those that a sample of the prompts says can go.
4. Refine: add one, drop two (`swap_nodes.py`).
5. Eliminate exactly, one by one on all search prompts, until none can go.
6. Go on eliminating below the target, for the frontier. If that finds a smaller circuit that reaches the target all
   the same, make it minimal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.evaluation.journal import recalled
from circuit_tui.core.runtime.incremental import Increments
from circuit_tui.core.search.eliminate import Elimination
from circuit_tui.core.search.methods.hard_mask import SURROGATE_WIDTH, TargetPenalty, hard_mask
from circuit_tui.core.search.methods.settings import MaskSettings
from circuit_tui.core.search.minibatches import ShuffledBatches
from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.search.reach_target import best_to_minimal, reach_target
from circuit_tui.core.search.search import Search, Steps
from circuit_tui.core.search.swap_nodes import swap_nodes
from circuit_tui.core.views import SearchStage

# Prompts in a step where no number is set. Of few prompts the mean of a small batch is mostly noise, and what is fitted
# to noise does not hold on other prompts; of many, more in a step cost more time than they are worth.
BATCH, BATCH_OF_FEW, FEW_PROMPTS = 32, 64, 384
# The first thetas: evenly spread between these by the gradient of the mean logit difference at M_s (attribution
# patching) over some prompts. If all began alike, all would reach the threshold in the same step.
LOWEST_START, HIGHEST_START, START_PROMPTS = 0.1, 1.1, 128
THETA_LIMIT = 2.0
# The learning rate falls to this share of itself over the second half: at the full rate nodes near the threshold go on
# flipping and the last mask is a draw from many.
LAST_RATE = 0.1
PER_PROMPT_WEIGHT = 0.1
# A node whose theta is at its lower limit hardly feels the gradient: every so many steps all nodes take part, in
# between those whose theta is above this share of the limit. A third of the way nine in ten are at the limit.
ALL_EVERY, NEAR = 25, 0.95
# The optimiser aims a little above the target: elimination then has something to give away.
AIM_ABOVE = 0.02


def prompts_in_a_step(n_train: int) -> int:
    """How many of `n_train` search prompts a step takes where no number is set."""
    return BATCH_OF_FEW if n_train < FEW_PROMPTS else BATCH


class MaskSearch(Search):
    """Finds the smallest circuit it can that reaches the target."""

    settings: MaskSettings

    def steps(self) -> Steps:
        """See `Search.steps`."""
        theta = torch.zeros(len(self.problem.space), device=self.problem.model.device)
        yield from self._optimise(theta)
        elimination = Elimination(self, (theta > 0).cpu())
        self.offer(elimination.kept, elimination.faithfulness)
        stages: tuple[tuple[Increments[None], SearchStage, float, float], ...] = (
            (elimination.grow(), "eliminate", 0.4, 0.44),
            (reach_target(elimination, theta.argsort(descending=True)), "eliminate", 0.44, 0.45),
            (elimination.in_bulk(), "eliminate", 0.45, 0.5),
            (elimination.by_probe(), "eliminate", 0.5, 0.6),
            (swap_nodes(elimination, self.settings.refine), "eliminate", 0.6, 0.7),
            (elimination.to_minimal(), "eliminate", 0.7, 0.8),
            (elimination.below_target(), "frontier", 0.8, 0.96),
            (best_to_minimal(elimination), "eliminate", 0.96, 0.97),
        )
        for stage, name, start, stop in stages:
            elimination.share = 0.0
            for _ in stage:
                yield self.progress(name, elimination.kept, start + (stop - start) * elimination.share)
                if self.stopped:  # what was under way is given up: only finished circuits have been offered
                    return
            if self.stopped:
                return

    def _optimise(self, theta: Tensor) -> Steps:
        n_steps, problem, baselines = self.settings.steps, self.problem, self.train.baselines
        masked = few = MaskedModel(problem, torch.arange(len(problem.space)))
        near = torch.ones(len(problem.space), dtype=torch.bool)
        batches = ShuffledBatches(problem, self._batch, self.generator)
        theta.copy_(self._start(masked)).requires_grad_()
        optimiser = torch.optim.Adam([theta], lr=self.settings.lr, betas=(0.9, 0.99))
        plain = baselines.plain.logit_diff.to(theta.device)
        gap = abs(baselines.gap)
        penalty = TargetPenalty(min(self.target + AIM_ABOVE, 0.99))
        for step in self.loop(n_steps, theta=theta, near=near, optimiser=optimiser, batches=batches, penalty=penalty):
            batch = batches.next()
            mask = hard_mask(theta)
            if step % ALL_EVERY == 0:
                near.copy_(theta.detach().cpu() > -NEAR * THETA_LIMIT)
                now = masked
            else:
                if few is masked or step % ALL_EVERY == 1:
                    few = MaskedModel(problem, near.nonzero()[:, 0])
                now = few
            error = now.logit_difference(mask[now.chosen], batch) - plain[batch.prompts]
            now.forget(batch)
            loss = (error.mean().abs() + PER_PROMPT_WEIGHT * error.abs().mean()) / gap
            for group in optimiser.param_groups:
                group["lr"] = self.settings.lr * min(1.0, 2 * (1 - step / n_steps) + LAST_RATE)
            optimiser.zero_grad()
            (loss + penalty(mask)).backward()
            optimiser.step()
            mean = float((error.detach() + plain[batch.prompts]).mean())
            penalty.update(baselines.faithfulness(mean))
            with torch.no_grad():
                theta.clamp_(-THETA_LIMIT, THETA_LIMIT)
            self.record_mask(step, n_steps, torch.sigmoid(theta.detach() / SURROGATE_WIDTH))
            kept = (theta.detach() > 0).cpu()
            share = 0.4 * (step + 1) / n_steps
            yield self.progress("optimise", kept, share, loss=float(loss.detach()), soft=penalty.smooth)
        theta.requires_grad_(False)

    @property
    def _batch(self) -> int:
        return self.settings.batch or prompts_in_a_step(len(self.train))

    def _start(self, masked: MaskedModel) -> Tensor:
        gradient = recalled(lambda: self._gradient_of_everything(masked), "gradient of everything")
        share = gradient.abs().argsort().argsort() / max(1, len(gradient) - 1)
        return LOWEST_START + (HIGHEST_START - LOWEST_START) * share

    def _gradient_of_everything(self, masked: MaskedModel) -> Tensor:
        """Gradient `[node]` of the summed logit differences of some prompts, at a mask of ones."""
        everything = torch.ones(len(self.problem.space), device=self.problem.model.device, requires_grad=True)
        n = len(self.train)
        prompts = torch.linspace(0, n - 1, min(n, START_PROMPTS), device=everything.device).long()
        for batch in self.problem.batches("train", prompts, self._batch):
            masked.logit_difference(everything, batch).sum().backward()
            masked.forget(batch)
        assert everything.grad is not None
        return everything.grad
