"""Does the model do the task, and does the circuit hold on prompts that the search did not see?

Narrow prompts make narrow circuits, and a search overfits its prompts (in our runs on indirect objects, 512 prompts by
0.02 to 0.03). The interval is the percentile bootstrap over prompts (Efron 1979) of the ratio of means.
"""

from __future__ import annotations

import math

import torch

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measurement, finite, grade, worst_verdict
from circuit_tui.core.audit.limits import FAITHFULNESS_LIMITS
from circuit_tui.core.evaluation.bootstrap import ratio_interval
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.metrics import Baselines, PromptMetrics
from circuit_tui.core.search.frontier import score
from circuit_tui.core.search.open_search import MIN_ACCURACY, MIN_GAP, MIN_SPLICED

ABLE_ACCURACY = 0.9
"""A model of this accuracy does the task; below `MIN_ACCURACY` a search is refused."""
SPLICE_LIMITS = 0.1, 1 - MIN_SPLICED
"""Distance of M_s's faithfulness from 1; beyond the second number a search is refused."""
OVERFIT_LIMITS = 0.03, 0.1
"""Score lost from search prompts to held-out ones: honest searches lose the first number; the second is a tenth."""
MAX_INTERVAL_WIDTH = 0.2
"""A wider 95% interval leaves even a faithfulness of 1 in doubt."""


def interval(baselines: Baselines, measured: PromptMetrics, draws: int, seed: int) -> tuple[float, float]:
    """Returns the 95% bootstrap interval of the faithfulness of `measured`; every prompt is a cluster of its own.

    NaN where there is none.
    """
    above = measured.logit_diff.double() - baselines.empty.logit_diff.double()
    below = baselines.plain.logit_diff.double() - baselines.empty.logit_diff.double()
    return ratio_interval(above, below, torch.arange(len(above)), draws, seed) or (math.nan, math.nan)


def task(audited: AuditedCircuit) -> Measurement:
    """Measures whether M does the task on held-out prompts, and whether M_s still does."""
    baselines = audited.test.baselines
    plain, spliced = baselines.summarise(baselines.plain), baselines.summarise(baselines.spliced)
    gap = baselines.gap
    verdict = worst_verdict(
        grade(1 - plain.accuracy, 1 - ABLE_ACCURACY, 1 - MIN_ACCURACY),
        "good" if gap >= MIN_GAP else "bad",
        grade(abs(1 - spliced.faithfulness), *SPLICE_LIMITS),
    )
    yield 1.0
    return Finding(
        "task", verdict,
        f"The model answers {plain.accuracy:.0%} of the held-out prompts rightly, the sites carry {gap:.2f} of its "
        f"logit difference of {plain.logit_diff:.2f}, and the SAEs alone leave a faithfulness of "
        f"{spliced.faithfulness:.3f}: {_TASK_MEANING[verdict]}.",
        {
            "accuracy": plain.accuracy, "logit_diff": plain.logit_diff, "gap": gap,
            "spliced_accuracy": spliced.accuracy, "spliced_faithfulness": finite(spliced.faithfulness),
        },
    )  # fmt: skip


def held_out(audited: AuditedCircuit) -> Measurement:
    """Measures faithfulness on held-out prompts, with its bootstrap interval."""
    evaluator = audited.test
    measured = yield from evaluator.measure(audited.kept)
    value = _faithfulness(evaluator, measured)
    low, high = interval(evaluator.baselines, measured, audited.settings.bootstraps, audited.settings.seed)
    wide = not high - low <= MAX_INTERVAL_WIDTH
    verdict = worst_verdict(grade(abs(1 - value), *FAITHFULNESS_LIMITS), "doubtful" if wide else "good")
    meaning = "too few prompts to tell" if wide and verdict != "bad" else _HELD_OUT_MEANING[verdict]
    return Finding(
        "held-out", verdict,
        f"On {len(evaluator)} prompts that the search did not see, faithfulness is {value:.3f} (95% interval "
        f"{low:.3f} to {high:.3f}): {meaning}.",
        {"faithfulness": finite(value), "low": finite(low), "high": finite(high), "prompts": len(evaluator)},
    )  # fmt: skip


def overfit(audited: AuditedCircuit) -> Measurement:
    """Measures how much better the circuit is on the search prompts than on held-out ones."""
    train = yield from audited.train.faithfulness(audited.kept)
    test = yield from audited.test.faithfulness(audited.kept)
    lost = score(train) - score(test)
    verdict = grade(lost, *OVERFIT_LIMITS)
    return Finding(
        "overfit", verdict,
        f"Faithfulness is {train:.3f} on the search prompts and {test:.3f} on held-out ones: "
        f"{_OVERFIT_MEANING[verdict]}.",
        {"train": finite(train), "test": finite(test), "lost": finite(lost)},
    )  # fmt: skip


def unseen(audited: AuditedCircuit) -> Measurement:
    """Measures faithfulness on the task's other template, which no search ever sees."""
    evaluator = audited.unseen
    if evaluator is None:
        return Finding("unseen", "not measured", "The task has no prompts of another template.")
    baselines = evaluator.baselines
    plain, gap = baselines.summarise(baselines.plain), baselines.gap
    numbers: dict[str, float | int | None] = {
        "accuracy": plain.accuracy, "gap": gap, "prompts": len(evaluator)
    }  # fmt: skip
    if plain.accuracy < MIN_ACCURACY or gap < MIN_GAP:
        says = f"The model itself does not do the task there: it answers {plain.accuracy:.0%} rightly."
        return Finding("unseen", "not measured", says, numbers)
    measured = yield from evaluator.measure(audited.kept)
    value = _faithfulness(evaluator, measured)
    low, high = interval(baselines, measured, audited.settings.bootstraps, audited.settings.seed)
    verdict = grade(abs(1 - value), *FAITHFULNESS_LIMITS)
    return Finding(
        "unseen", verdict,
        f"On {len(evaluator)} prompts of another template, faithfulness is {value:.3f} (95% interval {low:.3f} to "
        f"{high:.3f}): {_UNSEEN_MEANING[verdict]}.",
        numbers | {"faithfulness": finite(value), "low": finite(low), "high": finite(high)},
    )  # fmt: skip


def _faithfulness(evaluator: Evaluator, measured: PromptMetrics) -> float:
    return evaluator.baselines.faithfulness(measured.mean_logit_diff)


_TASK_MEANING = {
    "good": "there is a behaviour to explain",
    "doubtful": "part of the behaviour is not there to explain",
    "bad": "there is no behaviour here that a circuit could explain",
}
_HELD_OUT_MEANING = {
    "good": "it carries the behaviour",
    "doubtful": "it carries only part of the behaviour, or too much",
    "bad": "it does not carry the behaviour",
}
_OVERFIT_MEANING = {
    "good": "it does not lean on the prompts it was found on",
    "doubtful": "it leans a little on the prompts it was found on",
    "bad": "it was fitted to the prompts it was found on",
}
_UNSEEN_MEANING = {
    "good": "it carries the behaviour there too",
    "doubtful": "it holds only in part beyond the template it was found on",
    "bad": "claim nothing beyond the template it was found on",
}
