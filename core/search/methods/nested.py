"""One run for every size: learns a ranking whose prefixes are circuits, each inside the next.

In the spirit of Matryoshka Attribution (Arora et al. 2026), where one set of scores is trained at many sizes at once,
but with hard prefixes in the forward pass: a step draws a size k, log-uniform from 1 to all candidates, keeps the k
nodes with the highest scores and ablates the others, as the circuit that is returned does. Soft masks share small
values among many nodes, so that what is trained is not what is deployed. The gradient is that of a soft choice of k
(`top_k.py`).

With k uniform in log k, the loss is the area of |1 - f| over log size, the measure by which frontiers are compared.
"""

from __future__ import annotations

import math

import torch

from circuit_tui.core.search.method import SearchMethod, Steps
from circuit_tui.core.search.methods.settings import NestedSettings
from circuit_tui.core.search.methods.top_k import top_k_mask
from circuit_tui.core.search.minibatches import ShuffledBatches
from circuit_tui.core.search.objective import MaskedModel, faithfulness_loss
from circuit_tui.core.search.ranking import offer_doubled_prefixes, offer_prefixes

SPREAD_AT_START = 0.01
SHARE_OF_TRAINING = 0.7


class NestedMethod(SearchMethod[NestedSettings]):
    """Learns a ranking, then returns its smallest prefix that reaches the target."""

    def steps(self) -> Steps:
        """Learns the ranking, then evaluates its prefixes."""
        n_steps, problem, baselines = self.settings.steps, self.problem, self.train.baselines
        # The start is a random order: ties would be broken by node number.
        scores = SPREAD_AT_START * torch.randn(len(problem.space), generator=self.generator)
        scores = scores.to(problem.model.device).requires_grad_()
        optimiser = torch.optim.Adam([scores], lr=self.settings.lr, betas=(0.9, 0.99))
        masked = MaskedModel(problem, torch.arange(len(problem.space)))
        batches = ShuffledBatches(problem, self.settings.batch, self.generator)
        plain = baselines.plain.logit_diff.to(scores.device)
        for step in self.loop(n_steps, scores=scores, optimiser=optimiser, batches=batches):
            batch = batches.next()
            size = self.draw_size()
            mask = top_k_mask(scores, size, self.settings.width)
            measured = masked.logit_difference(mask, batch)
            masked.release(batch)
            loss = faithfulness_loss(measured - plain[batch.prompts], baselines.gap)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rank = scores.detach().argsort().argsort().float() / max(1, len(scores) - 1)
            self.masks.record(step, n_steps, rank)
            soft = baselines.faithfulness(float(measured.detach().mean()))
            share = SHARE_OF_TRAINING * (step + 1) / n_steps
            yield self.progress("optimise", mask.detach().bool().cpu(), share, loss=float(loss.detach()), soft=soft)
        ranking = scores.detach().cpu()
        if self.stopped:
            offer_doubled_prefixes(self, ranking)
        else:
            yield from offer_prefixes(self, ranking, SHARE_OF_TRAINING)

    def draw_size(self) -> int:
        """A size from 1 to the number of candidates, uniform in its logarithm."""
        n = len(self.problem.space)
        share = float(torch.rand(1, generator=self.generator, dtype=torch.float64))
        return min(n, int(math.exp(share * math.log(n + 1))))
