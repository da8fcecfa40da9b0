"""The published recipe, for comparison.

Caples, Nainani, McDougall and rrenaud (2025), "Scaling Sparse Feature Circuit Finding to Gemma 9B", as their code
runs it: one parameter for each node, initialised at 1; train with m = sigmoid(theta T), T = 200^(r step / steps);
deploy m = [theta > 0]; loss |mean LD(M_s) - mean LD(masked)| + lambda (sum m) / (number of SAEs), for agreement tasks
also divided by the sequence length; Adam. Two of its mistakes are not repeated, so that only the method is compared:
the mean activations are exact, and the circuit is evaluated on prompts of its own.
"""

from __future__ import annotations

import torch

from circuit_tui.core.search.method import SearchMethod, Steps
from circuit_tui.core.search.methods.settings import PublishedSettings
from circuit_tui.core.search.minibatches import ShuffledBatches
from circuit_tui.core.search.objective import MaskedModel

BASE_TEMPERATURE = 200.0


class PublishedMethod(SearchMethod[PublishedSettings]):
    """One run with one fixed lambda; the target only decides whether the result counts as reached."""

    def steps(self) -> Steps:
        """Trains the mask and offers its circuit."""
        n_steps, problem = self.settings.steps, self.problem
        theta = torch.ones(len(problem.space), device=problem.model.device, requires_grad=True)
        masked = MaskedModel(problem, torch.arange(len(problem.space)))
        optimiser = torch.optim.Adam([theta], lr=self.settings.lr)
        batches = ShuffledBatches(problem, self.settings.batch, self.generator)
        spliced = self.train.baselines.spliced.logit_diff.to(theta.device)
        divisor = len(problem.sites) * (problem.n_positions if self.settings.per_position else 1)
        for step in self.loop(n_steps, theta=theta, optimiser=optimiser, batches=batches):
            batch = batches.next()
            mask = torch.sigmoid(theta * BASE_TEMPERATURE ** (self.settings.r * step / n_steps))
            masked_mean = masked.logit_difference(mask, batch).mean()
            self.masks.record(step, n_steps, mask)
            loss = (spliced[batch.prompts].mean() - masked_mean).abs()
            loss = loss + self.settings.penalty * mask.sum() / divisor
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            masked.release(batch)
            kept = (theta.detach() > 0).cpu()
            soft = self.train.baselines.faithfulness(float(masked_mean.detach()))
            yield self.progress("optimise", kept, (step + 1) / n_steps * 0.95, loss=float(loss.detach()), soft=soft)
        kept = (theta.detach() > 0).cpu()
        self.offer(kept, self.judge.judge(kept).result())
