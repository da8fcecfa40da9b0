"""Does the model do the task, and does the circuit hold on prompts that the search did not see?

Narrow prompts make narrow circuits, and a search overfits its prompts (512 of them by 0.02 to 0.03 on indirect objects,
in our own runs). The interval is the percentile bootstrap over prompts (Efron 1979) of the ratio of means.
"""

from __future__ import annotations

import torch

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measuring, finite, grade, worst
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.metrics import Baselines, PromptMetrics
from circuit_tui.core.search.frontier import score
from circuit_tui.core.search.open_search import MIN_ACCURACY, MIN_GAP, MIN_SPLICED

ABLE = 0.9
"""A model that answers nine of ten prompts does the task; below `MIN_ACCURACY` a search is refused."""
KEPT_BY_SPLICE = 0.1, 1 - MIN_SPLICED
"""How far from 1 the faithfulness of M_s may be; with half of the behaviour lost a search is refused."""
OFF = 0.1, 0.25
"""|1 - f| on held-out prompts: nine tenths of the behaviour, three quarters."""
GAP = 0.03, 0.1
"""Search prompts against held-out ones: what honest searches lose; then a tenth of the behaviour."""
WIDTH = 0.2
"""A 95% interval wider than this leaves even a faithfulness of 1 in doubt."""


def interval(baselines: Baselines, measured: PromptMetrics, draws: int, seed: int) -> tuple[float, float]:
    """The 95% bootstrap interval of the faithfulness of `measured`: prompts drawn anew with replacement."""
    n = len(measured.logit_diff)
    chosen = torch.randint(n, (draws, n), generator=torch.Generator().manual_seed(seed))
    circuit, plain, empty = (
        part.logit_diff.double()[chosen].mean(1) for part in (measured, baselines.plain, baselines.empty)
    )
    low, high = torch.quantile((circuit - empty) / (plain - empty), torch.tensor([0.025, 0.975]).double()).tolist()
    return low, high


def task(subject: AuditedCircuit) -> Measuring:
    """Whether M does the task on held-out prompts, and whether M_s still does."""
    baselines = subject.test.baselines
    plain, spliced = baselines.summarise(baselines.plain), baselines.summarise(baselines.spliced)
    width = baselines.gap
    verdict = worst(
        grade(1 - plain.accuracy, 1 - ABLE, 1 - MIN_ACCURACY),
        "good" if width >= MIN_GAP else "bad",
        grade(abs(1 - spliced.faithfulness), *KEPT_BY_SPLICE),
    )
    yield 1.0
    return Finding(
        "task", verdict,
        f"The model answers {plain.accuracy:.0%} of the held-out prompts rightly, the sites carry {width:.2f} of its "
        f"logit difference of {plain.logit_diff:.2f}, and the SAEs alone leave a faithfulness of "
        f"{spliced.faithfulness:.3f}: {_TASK[verdict]}.",
        {
            "accuracy": plain.accuracy, "logit_diff": plain.logit_diff, "gap": width,
            "spliced_accuracy": spliced.accuracy, "spliced_faithfulness": finite(spliced.faithfulness),
        },
    )  # fmt: skip


def held_out(subject: AuditedCircuit) -> Measuring:
    """Faithfulness on held-out prompts with its bootstrap interval."""
    evaluator = subject.test
    measured = yield from evaluator.measure(subject.kept)
    value = evaluator.baselines.faithfulness(measured.mean_logit_diff)
    low, high = interval(evaluator.baselines, measured, subject.settings.bootstraps, subject.settings.seed)
    wide = not high - low <= WIDTH
    verdict = worst(grade(abs(1 - value), *OFF), "doubtful" if wide else "good")
    return Finding(
        "held-out", verdict,
        f"On {len(evaluator)} prompts that the search did not see, faithfulness is {value:.3f} (95% interval "
        f"{low:.3f} to {high:.3f}): {'too few prompts to tell' if wide and verdict != 'bad' else _OFF[verdict]}.",
        {"faithfulness": finite(value), "low": finite(low), "high": finite(high), "prompts": len(evaluator)},
    )  # fmt: skip


def overfit(subject: AuditedCircuit) -> Measuring:
    """How much better the circuit is on the search prompts than on held-out ones."""
    train = yield from subject.train.faithfulness(subject.kept)
    test = yield from subject.test.faithfulness(subject.kept)
    lost = score(train) - score(test)
    verdict = grade(lost, *GAP)
    return Finding(
        "overfit", verdict,
        f"Faithfulness is {train:.3f} on the search prompts and {test:.3f} on held-out ones: {_GAP[verdict]}.",
        {"train": finite(train), "test": finite(test), "lost": finite(lost)},
    )  # fmt: skip


def unseen(subject: AuditedCircuit) -> Measuring:
    """Faithfulness on the task's other template, which no search ever sees."""
    evaluator = subject.unseen
    if evaluator is None:
        return Finding("unseen", "not measured", "The task has no prompts of another template.")
    baselines = evaluator.baselines
    plain, width = baselines.summarise(baselines.plain), baselines.gap
    numbers: dict[str, float | int | None] = {
        "accuracy": plain.accuracy, "gap": width, "prompts": len(evaluator)
    }  # fmt: skip
    if plain.accuracy < MIN_ACCURACY or width < MIN_GAP:
        says = f"The model itself does not do the task there: it answers {plain.accuracy:.0%} rightly."
        return Finding("unseen", "not measured", says, numbers)
    measured = yield from evaluator.measure(subject.kept)
    value = _faithfulness(evaluator, measured)
    low, high = interval(baselines, measured, subject.settings.bootstraps, subject.settings.seed)
    verdict = grade(abs(1 - value), *OFF)
    return Finding(
        "unseen", verdict,
        f"On {len(evaluator)} prompts of another template, faithfulness is {value:.3f} (95% interval {low:.3f} to "
        f"{high:.3f}): {_UNSEEN[verdict]}.",
        numbers | {"faithfulness": finite(value), "low": finite(low), "high": finite(high)},
    )  # fmt: skip


def _faithfulness(evaluator: Evaluator, measured: PromptMetrics) -> float:
    return evaluator.baselines.faithfulness(measured.mean_logit_diff)


_TASK = {
    "good": "there is a behaviour to explain",
    "doubtful": "part of the behaviour is not there to explain",
    "bad": "there is no behaviour here that a circuit could explain",
}
_OFF = {
    "good": "it carries the behaviour",
    "doubtful": "it carries only part of the behaviour, or too much",
    "bad": "it does not carry the behaviour",
}
_GAP = {
    "good": "it does not lean on the prompts it was found on",
    "doubtful": "it leans a little on the prompts it was found on",
    "bad": "it was fitted to the prompts it was found on",
}
_UNSEEN = {
    "good": "it carries the behaviour there too",
    "doubtful": "it holds only in part beyond the template it was found on",
    "bad": "claim nothing beyond the template it was found on",
}
