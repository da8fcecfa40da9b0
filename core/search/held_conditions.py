"""The loss of an optimisation that holds several conditions: one pass for each ablation on the same prompts."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from circuit_tui.core.evaluation.metrics import Baselines
from circuit_tui.core.runtime.machine import precise_dtype
from circuit_tui.core.search.condition_losses import ConditionLosses
from circuit_tui.core.search.judge import Judge
from circuit_tui.core.search.minibatches import MiniBatch
from circuit_tui.core.search.objective import MaskedModel, faithfulness_loss
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.other_ablation import resample_draws
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.splice.resample import ResampleDraws

DRAW_LIMIT = 2**31 - 1


class HeldFaithfulness:
    """Faithfulness alone: the published loss, and a little of the errors of single prompts.

    Nothing in it waits for the device or depends on its numbers.

    Args:
        baselines: of the search prompts.
        device: where masks are.
        per_prompt_weight: the weight of single prompts' errors.
    """

    def __init__(self, baselines: Baselines, device: torch.device, per_prompt_weight: float) -> None:
        self._plain = baselines.plain.logit_diff.to(device)
        self._gap, self._empty = baselines.gap, baselines.empty.mean_logit_diff
        self._per_prompt_weight = per_prompt_weight

    def __call__(self, masked: MaskedModel, mask: Tensor, batch: Batch | MiniBatch) -> tuple[Tensor, Tensor]:
        """The loss under `mask` `[active]` on `batch`, and the faithfulness there, a scalar."""
        plain = self._plain.index_select(0, batch.prompts)
        error = masked.logit_difference(mask, batch) - plain
        mean = (error.detach() + plain).mean()
        reached = (mean.to(precise_dtype(mean.device)) - self._empty) / self._gap
        return faithfulness_loss(error, self._gap, self._per_prompt_weight), reached


class HeldConditions:
    """The conditions of `judge`, which is prepared, on one mini-batch of search prompts after another.

    An ablation is drawn for each batch, so that a step costs one pass however many there are; the loss is the sum of
    the distances from 1 of its conditions. References of ``resample`` are drawn anew for each batch too. `generator`
    draws both.
    """

    def __init__(self, judge: Judge, generator: torch.Generator) -> None:
        self._judge, self._generator, self._losses = judge, generator, ConditionLosses(judge)
        self._draws: ResampleDraws | None = None

    def __call__(self, masked: MaskedModel, mask: Tensor, batch: Batch | MiniBatch) -> tuple[Tensor, Tensor]:
        """The loss under `mask` `[active]`, and what each condition reached, `[condition]`, in units of the first.

        Conditions of other ablations than the one that was drawn are nan.
        """
        number = int(torch.randint(len(self._judge.evaluators), (1,), generator=self._generator))
        problem, prompts = self._judge.evaluators[number].problem.limited_like(masked.problem), batch.prompts
        if problem.ablation == "resample":
            problem = self._drawn_anew(problem)
        plain, sums = problem.splits["train"].plain_logits, []
        for part in problem.batches("train", prompts):
            logits = masked.logits(mask, part)
            sums.append(self._losses.sums(number, logits, plain[part.reads], part.answers, part.prompts))
            masked.release(part)
        distances = torch.stack(sums).sum(0) / self._losses.counts(prompts).to(mask)
        own, every = self._judge.conditions_under(number), self._judge.scale.to(distances)
        scale, reached = every[own], torch.full_like(every, float("nan"))
        reached[own] = 1 + scale * distances.detach()
        return (scale * distances.abs()).sum(), reached

    def _drawn_anew(self, problem: Problem) -> Problem:
        """`problem` with other references of ``resample`` on the search prompts."""
        if self._draws is None:
            self._draws = resample_draws(problem, "train")
        seed = int(torch.randint(DRAW_LIMIT, (1,), generator=self._generator))
        train = replace(problem.splits["train"], reference_rows=self._draws.rows(seed))
        return replace(problem, splits=problem.splits | {"train": train})
