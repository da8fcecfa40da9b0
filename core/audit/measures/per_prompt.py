"""Prompt by prompt: does the circuit do what the model does, or do its errors cancel in the mean?

Faithfulness is a ratio of means: a circuit that is far too sure on one half of the prompts and far off on the other
half can have faithfulness 1. With the error e_i(C) = LD_i(C) - LD_i(M) of prompt i,

    per-prompt faithfulness  1 - mean_i |e_i(C)| / mean_i |e_i(0)|

is 1 for the model and 0 for the empty circuit, like faithfulness, but errors do not cancel.
"""

from __future__ import annotations

import torch

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measurement, finite, grade
from circuit_tui.core.audit.limits import DISAGREEMENT_LIMITS

ERROR_LIMITS = 0.25, 0.5
"""1 - per-prompt faithfulness, the share of the empty circuit's error that is left: a quarter, and half."""


def answers(audited: AuditedCircuit) -> Measurement:
    """Measures the share of held-out prompts on which circuit and model disagree about the answer (right or wrong)."""
    measured = yield from audited.test.measure(audited.kept)
    plain = audited.test.baselines.plain.logit_diff
    share = float(((measured.logit_diff > 0) != (plain > 0)).double().mean())
    verdict = grade(share, *DISAGREEMENT_LIMITS)
    return Finding(
        "answers", verdict,
        f"Circuit and model disagree about the answer on {share:.1%} of the held-out prompts: "
        f"{_ANSWERS_MEANING[verdict]}.",
        {"disagree": share},
    )  # fmt: skip


def errors(audited: AuditedCircuit) -> Measurement:
    """Measures the spread of the per-prompt error, and how much of the empty circuit's error is left."""
    baselines = audited.test.baselines
    measured = yield from audited.test.measure(audited.kept)
    plain = baselines.plain.logit_diff.double()
    error = measured.logit_diff.double() - plain
    low, high = torch.quantile(error, torch.tensor([0.25, 0.75]).double()).tolist()
    own_error = float(error.abs().mean())
    empty_error = float((baselines.empty.logit_diff.double() - plain).abs().mean())
    left = own_error / empty_error if empty_error > 0 else float("nan")
    mean_error = abs(float(error.mean())) / abs(baselines.gap) if baselines.gap else float("nan")
    verdict = grade(left, *ERROR_LIMITS)
    return Finding(
        "errors", verdict,
        f"The error of half of the prompts lies between {low:.2f} and {high:.2f}, and {left:.0%} of the empty "
        f"circuit's error is left, where the means are {mean_error:.0%} apart: {_ERRORS_MEANING[verdict]}.",
        {
            "iqr_low": low, "iqr_high": high, "mean_absolute": own_error,
            "left": finite(left), "of_mean": finite(mean_error),
            "per_prompt_faithfulness": finite(1 - left),
        },
    )  # fmt: skip


_ANSWERS_MEANING = {
    "good": "they are the same behaviour",
    "doubtful": "on some prompts it does something else",
    "bad": "it does something else",
}
_ERRORS_MEANING = {
    "good": "prompt by prompt it does what the model does",
    "doubtful": "single prompts are off, in part both ways",
    "bad": "errors cancel in the mean, faithfulness hides them",
}
