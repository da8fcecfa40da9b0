"""The quantities of objectives, prompt by prompt (`objectives.py` has the formulas).

`quantity` is a pure, differentiable function of logits, for optimisations; `measured_quantity` takes the same numbers
from a measured run. They agree but for accuracy, which an optimisation replaces by sigmoid(LD).
"""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.choices import ObjectiveKind
from circuit_tui.core.evaluation.metrics import PromptMetrics
from circuit_tui.core.tasks.answers import Answers


def quantity(kind: ObjectiveKind, logits: Tensor, plain: Tensor, answers: Answers) -> Tensor:
    """The quantity of each prompt, `[prompt]`, differentiable in `logits`.

    Args:
        kind: the objective.
        logits: `[read, vocab]` of the masked run.
        plain: the same of M.
        answers: of these prompts.
    """
    if kind == "kl":
        log_probs, plain_log_probs = logits.log_softmax(-1), plain.log_softmax(-1)
        return -answers.sum_over_right((plain_log_probs.exp() * (plain_log_probs - log_probs)).sum(-1))
    if kind == "prob":
        tokens = answers.scored_tokens().unsqueeze(1)
        return answers.sum_over_right(logits.log_softmax(-1).gather(1, tokens)[:, 0]).exp()
    difference = answers.logit_difference(logits)
    if kind == "accuracy":
        return torch.sigmoid(difference)
    return difference if kind == "logit-diff" else -(difference - answers.logit_difference(plain)).abs()


def measured_quantity(kind: ObjectiveKind, measured: PromptMetrics, plain: PromptMetrics) -> Tensor:
    """The quantity of each prompt, `[prompt]` float64, of a run `measured`; `plain` is that of M."""
    if kind == "kl":
        return -measured.kl.double()
    if kind == "prob":
        return (-measured.cross_entropy.double()).exp()
    if kind == "accuracy":
        return (measured.logit_diff > 0).double()
    difference = measured.logit_diff.double()
    return difference if kind == "logit-diff" else -(difference - plain.logit_diff.double()).abs()
