"""What a measure of the audit returns: numbers, a verdict and what it means. Plain values, no tensor."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from circuit_tui.core.choices import VERDICTS, Outcome, Verdict

Value = TypeVar("Value")
Number = float | int | None


TITLES: dict[str, str] = {
    "task": "the model does the task",
    "held-out": "held-out prompts",
    "overfit": "search prompts against held-out",
    "unseen": "a template never seen",
    "answers": "answers",
    "errors": "errors of single prompts",
    "averaging": "averaging",
    "distribution": "whole distribution",
    "completeness": "completeness",
    "splice-task": "cost of the splice, task",
    "splice-text": "cost of the splice, text",
    "random": "random circuits of its size",
    "ablation": "ablation",
    "subsets": "completeness without parts",
    "minimality": "minimality",
    "shuffled": "the same search on nonsense",
    "seeds": "other seeds",
    "resamplings": "resampled search prompts",
}
"""Every line of the audit by its key."""
DECIDING = frozenset({"task", "held-out", "overfit", "answers", "errors", "completeness", "random", "shuffled"})
"""Without these the circuit is not what it is said to be: enough for the behaviour, needed for it, and no accident."""


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """One search that an audit makes; `draw` is the seed of what is done to the prompts or labels."""

    kind: str
    seed: int
    draw: int

    @property
    def id(self) -> str:
        """Tells it from the other searches of the same audit; fit for a folder's name."""
        return f"{self.kind}-{self.seed}-{self.draw}"


@dataclass(frozen=True, slots=True)
class SearchRun:
    """One search made for the audit, and the circuit it found.

    `kind`, `seed` and `draw` are those of its `AuditSearch`; `train` and `test` are its faithfulness, None where there
    is none.
    """

    kind: str
    seed: int
    draw: int
    size: int
    train: float | None
    test: float | None
    reached: bool
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the audit.

    Attributes:
        key: names the line, as in the circuit file.
        verdict: against the thresholds of the measure's module.
        says: one sentence, what was found and what it means.
        numbers: by name; None where a number has no value.
        runs: the searches it rests on.
    """

    key: str
    verdict: Verdict
    says: str
    numbers: Mapping[str, Number] = field(default_factory=dict)
    runs: tuple[SearchRun, ...] = ()

    @property
    def title(self) -> str:
        """The line's name for a reader."""
        return TITLES[self.key]

    @property
    def decides(self) -> bool:
        """Whether the circuit is not to be believed if this is bad. The other lines limit what may be claimed of it."""
        return self.key in DECIDING


@dataclass(frozen=True, slots=True)
class AuditProgress:
    """How far an audit is: the line under way, `done` of `total` lines, the `share` 0..1 of the whole, and seconds.

    `searches` is how many of all its searches are over, where they are made in processes of their own.
    """

    title: str
    done: int
    total: int
    share: float
    seconds: float
    seconds_left: float | None
    searches: tuple[int, int] | None = None


# A measure in slices: it yields after each piece of work, now and then with the share of it that is done, 0..1.
Measuring = Generator[float | None, None, Finding]


def within(
    steps: Generator[float | None, None, Value], start: float, stop: float
) -> Generator[float | None, None, Value]:
    """`steps`, its shares mapped to the part from `start` to `stop`."""
    while True:
        try:
            share = next(steps)
        except StopIteration as end:
            value: Value = end.value
            return value
        yield None if share is None else start + (stop - start) * share


def grade(value: float, good: float, doubtful: float) -> Verdict:
    """Smaller is better: good up to and with `good`, doubtful up to and with `doubtful`; not a number is bad."""
    return "good" if value <= good else "doubtful" if value <= doubtful else "bad"


def worst(*verdicts: Verdict) -> Verdict:
    """The worst of some verdicts; what was not measured does not count unless nothing was."""
    measured = [verdict for verdict in verdicts if verdict != "not measured"]
    return max(measured, key=VERDICTS.index, default="not measured")


def outcome(findings: tuple[Finding, ...], *, finished: bool) -> Outcome:
    """What the lines say together.

    Do not believe: a line that decides is bad. Within limits: one of those is doubtful or was not measured, or any
    other line is bad.
    """
    deciding = {finding.verdict for finding in findings if finding.decides}
    if "bad" in deciding:
        return "do not believe"
    if not finished:
        return "not finished"
    limited = deciding != {"good"} or any(finding.verdict == "bad" for finding in findings)
    return "believable within limits" if limited else "believable"


def reasons(findings: Sequence[Finding]) -> tuple[str, ...]:
    """The titles of the lines that keep the outcome from being ``believable``."""
    against = [line.title for line in findings if line.decides and line.verdict == "bad"]
    limits = (line.title for line in findings if line.verdict == "bad" or (line.decides and line.verdict != "good"))
    return tuple(against or limits)


def finite(value: float) -> float | None:
    """`value`, or None where it has none."""
    return value if math.isfinite(value) else None
