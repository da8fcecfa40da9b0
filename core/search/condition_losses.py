"""What optimisations differentiate for a search that holds several conditions: how far each is from the model.

The published loss is |mean LD(C) - mean LD(M)|. In units of faithfulness it is |1 - f|, and for any condition it is
|1 - value| (`objectives.py`). On a batch the means of q are those of its prompts, the gap between M and the empty
circuit is that of all search prompts. All of it is a differentiable function of logits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.choices import ObjectiveKind
from circuit_tui.core.evaluation.metrics import PromptMetrics
from circuit_tui.core.search.judge import Judge, Judgement
from circuit_tui.core.search.objective import MaskedModel, faithfulness_gradient
from circuit_tui.core.search.quantities import measured_quantity, quantity
from circuit_tui.core.tasks.answers import Answers

SHARPNESS = 4.0
"""How sharply the gradient of a score is that of its worst condition, in units of what a condition allows."""
NEGLIGIBLE = 0.01
"""An ablation whose conditions together have less than this weight is left out of a gradient."""


class ConditionLosses:
    """The conditions of `judge`, which is prepared, as functions of logits."""

    def __init__(self, judge: Judge) -> None:
        self._kinds = [objective.kind for objective in judge.spec.held]
        self._templates = torch.stack(judge.template_masks).double()
        self._gaps = [
            torch.stack([self._gap(kind, evaluator.baselines.plain, evaluator.baselines.empty) for kind in self._kinds])
            for evaluator in judge.evaluators
        ]

    def sums(self, number: int, logits: Tensor, plain: Tensor, answers: Answers, where: Tensor) -> Tensor:
        """Sums over some prompts of (q(C) - q(M)) / gap, `[condition]` of one ablation, differentiable in `logits`.

        Divided by `counts` of the same prompts it is value - 1 on them.

        Args:
            number: of the ablation, as in `Judge.evaluators`.
            logits: `[read, vocab]` of the masked run.
            plain: the same of M.
            answers: of the prompts.
            where: `[prompt]` the numbers of the prompts among those of the judge.
        """
        templates = self._templates[:, where.cpu()].to(logits)
        found = []
        for kind, gap in zip(self._kinds, self._gaps[number], strict=True):
            change = quantity(kind, logits, plain, answers) - quantity(kind, plain, plain, answers)
            found.append(templates @ change / gap.to(change))
        return torch.cat(found)

    def counts(self, where: Tensor) -> Tensor:
        """How many of the prompts `where` `[prompt]` each condition counts, `[condition]`, at least 1."""
        return self._templates[:, where.cpu()].sum(1).clamp(min=1).repeat(len(self._kinds))

    def _gap(self, kind: ObjectiveKind, plain: PromptMetrics, empty: PromptMetrics) -> Tensor:
        """Mean q(M) - mean q(0) on each template, `[template]` float64, with what `quantity` takes for accuracy."""
        change = _stand_in(kind, plain, plain) - _stand_in(kind, empty, plain)
        return (self._templates * change).sum(1) / self._templates.sum(1).clamp(min=1)


def _stand_in(kind: ObjectiveKind, measured: PromptMetrics, plain: PromptMetrics) -> Tensor:
    if kind == "accuracy":
        return torch.sigmoid(measured.logit_diff.double())
    return measured_quantity(kind, measured, plain)


def score_gradient(masked: MaskedModel, judge: Judge, judgement: Judgement, kept: Tensor) -> Tensor:
    """Gradient of the score on the prompts of `judge` with respect to the mask, `[node]` on the CPU.

    It is taken at the circuit `kept` `[node]` bool, whose judgement there is `judgement`; its nodes are all active. It
    is 0 for nodes that are not active. The largest distance is differentiated as a soft maximum: conditions near the
    worst one matter too.
    """
    if judge.alone:
        gradient = faithfulness_gradient(masked, judge.evaluators[0], kept)
        return gradient if judgement.faithfulness < 1 else -gradient
    values = torch.tensor(judgement.values, dtype=torch.float64)
    weights = torch.softmax(SHARPNESS * judge.distances(values) / (1 - judge.spec.target), 0)
    signed = weights * judge.scale * torch.where(values < 1, 1.0, -1.0)
    device = masked.active_on_device.device
    mask = kept[masked.active].to(device, torch.float32).requires_grad_()
    losses = ConditionLosses(judge)
    counts = losses.counts(torch.arange(len(judge.evaluators[0])))
    for number, evaluator in enumerate(judge.evaluators):
        own = judge.conditions_under(number)
        if float(weights[own].sum()) < NEGLIGIBLE:
            continue
        plain_logits = evaluator.problem.splits[evaluator.split].plain_logits
        for batch in evaluator.batches:
            logits, plain, where = masked.logits(mask, batch), plain_logits[batch.reads], evaluator.indices_of(batch)
            sums = losses.sums(number, logits, plain, batch.answers, where)
            (sums @ (signed[own] / counts).to(sums)).backward()
    assert mask.grad is not None
    found = torch.zeros(len(kept))
    found[masked.active] = mask.grad.cpu()
    return found
