"""Our search: hard masks trained straight through, a penalty that holds the target, exact elimination, add-and-drop."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.search.eliminate import Elimination
from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.search.search import Search, Steps
from circuit_tui.core.search.shuffle import ShuffledBatches

THETA_START = 0.3
THETA_LIMIT = 2.0
SURROGATE_WIDTH = 0.5


class MaskSearch(Search):
    name = "mask"

    def steps(self) -> Steps:
        n_steps, problem = int(self.setting("steps")), self.problem
        baselines = self.train.baselines
        theta = torch.full((len(problem.space),), THETA_START, device=problem.model.device, requires_grad=True)
        masked = MaskedModel(problem, torch.arange(len(problem.space)))
        optimiser = torch.optim.Adam([theta], lr=self.setting("lr"), betas=(0.9, 0.99))
        batches = ShuffledBatches(problem, int(self.setting("batch")), self.generator)
        plain = baselines.plain.logit_diff.to(theta.device)
        gap = baselines.plain.mean_logit_diff - baselines.empty.mean_logit_diff
        penalty, smooth = 1e-4, 1.0
        for step in range(n_steps):
            if self.stopped:
                break
            batch = batches.next()
            mask = HardMask.apply(theta, SURROGATE_WIDTH)
            mean = masked.logit_difference(mask, batch).mean()
            masked.forget(batch)
            loss = (plain[batch.prompts].mean() - mean).abs() / gap
            smooth = 0.9 * smooth + 0.1 * baselines.faithfulness(float(mean.detach()))
            if step > 5:
                penalty *= math.exp(0.05 * min(1.0, (smooth - self.target) / 0.05))
            penalty = min(max(penalty, 1e-7), 1.0)
            optimiser.zero_grad()
            (loss + penalty * mask.sum()).backward()
            optimiser.step()
            with torch.no_grad():
                theta.clamp_(-THETA_LIMIT, THETA_LIMIT)
            kept = (theta.detach() > 0).cpu()
            yield self.progress("optimise", kept, 0.5 * (step + 1) / n_steps, loss=float(loss.detach()), soft=smooth)
        kept = (theta.detach() > 0).cpu()
        elimination = Elimination(self, kept)
        self.offer(kept, elimination.faithfulness)
        for _ in elimination.to_minimal():
            yield self.progress("eliminate", elimination.live.kept, 0.6)
        for _ in elimination.below_target():
            yield self.progress("eliminate", elimination.live.kept, 0.9)


class HardMask(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, theta: Tensor, width: float) -> Tensor:
        soft = torch.sigmoid(theta / width)
        ctx.save_for_backward(soft)
        return (theta > 0).to(theta.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (soft,) = ctx.saved_tensors
        return grad * soft * (1 - soft) * 4, None
