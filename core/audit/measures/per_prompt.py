"""Prompt by prompt: does the circuit do what the model does, or do its errors cancel in the mean?

Faithfulness is a ratio of means. A circuit that is far too sure on one half of the prompts and far off on the other is
perfect by it. With e_i(C) = LD_i(C) - LD_i(M) the error of prompt i,

    per-prompt faithfulness  1 - mean_i |e_i(C)| / mean_i |e_i(0)|

is 1 for the model and 0 for the empty circuit, like faithfulness, but errors do not cancel in it.
"""

from __future__ import annotations

import torch

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measuring, finite, grade

DISAGREE = 0.05, 0.15
"""Share of prompts with another answer: one in twenty, one in seven. A coin disagrees on half."""
ERROR = 0.25, 0.5
"""1 - per-prompt faithfulness: the error left of that of the empty circuit. With half of it left, it is half empty."""


def answers(subject: AuditedCircuit) -> Measuring:
    """The share of held-out prompts on which circuit and model disagree about the answer (right or wrong)."""
    measured = yield from subject.test.measure(subject.kept)
    plain = subject.test.baselines.plain.logit_diff
    share = float(((measured.logit_diff > 0) != (plain > 0)).double().mean())
    verdict = grade(share, *DISAGREE)
    return Finding(
        "answers", verdict,
        f"Circuit and model disagree about the answer on {share:.1%} of the held-out prompts: {_ANSWERS[verdict]}.",
        {"disagree": share},
    )  # fmt: skip


def errors(subject: AuditedCircuit) -> Measuring:
    """The spread of the per-prompt error, and how much of the empty circuit's error is left."""
    baselines = subject.test.baselines
    measured = yield from subject.test.measure(subject.kept)
    plain = baselines.plain.logit_diff.double()
    error = measured.logit_diff.double() - plain
    low, high = torch.quantile(error, torch.tensor([0.25, 0.75]).double()).tolist()
    size, most = float(error.abs().mean()), float((baselines.empty.logit_diff.double() - plain).abs().mean())
    left = size / most if most > 0 else float("nan")
    of_mean = abs(float(error.mean())) / abs(baselines.gap) if baselines.gap else float("nan")
    verdict = grade(left, *ERROR)
    return Finding(
        "errors", verdict,
        f"The error of half of the prompts lies between {low:.2f} and {high:.2f}, and {left:.0%} of the empty "
        f"circuit's error is left, where the means are {of_mean:.0%} apart: {_ERRORS[verdict]}.",
        {
            "iqr_low": low, "iqr_high": high, "mean_absolute": size, "left": finite(left), "of_mean": finite(of_mean),
            "per_prompt_faithfulness": finite(1 - left),
        },
    )  # fmt: skip


_ANSWERS = {
    "good": "they are the same behaviour",
    "doubtful": "on some prompts it does something else",
    "bad": "it does something else",
}
_ERRORS = {
    "good": "prompt by prompt it does what the model does",
    "doubtful": "single prompts are off, in part both ways",
    "bad": "errors cancel in the mean, faithfulness hides them",
}
