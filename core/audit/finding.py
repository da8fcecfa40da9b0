"""What a measure of the audit returns: numbers, a verdict and a sentence. Plain values, no tensor."""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from circuit_tui.core.choices import VERDICTS, Outcome, Verdict

Result = TypeVar("Result")
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
    "dictionaries": "the same search without SAEs",
    "edge-attribution": "attribution of edges",
    "edge-circuit": "the edge circuit, held out",
    "edge-draws": "edges on other search prompts",
}
"""The title of every line of the audit, by its key."""
KEY_NUMBERS: dict[str, str] = {
    "task": "accuracy {accuracy:.0%}",
    "held-out": "faithfulness {faithfulness:.3f}",
    "overfit": "loses {lost:.3f}",
    "unseen": "faithfulness {faithfulness:.3f}",
    "answers": "{disagree:.1%} differ",
    "errors": "{left:.0%} left",
    "averaging": "mean of ratios {mean_of_ratios:.3f}",
    "distribution": "KL {kl:.3g} nats",
    "completeness": "{completeness:.1%} left",
    "splice-task": "costs {cost:.3f} nats",
    "splice-text": "costs {cost:.3f} nats",
    "random": "best {best_score:.3f}",
    "ablation": "moves by {moved:.3f}",
    "subsets": "{random_mean:.2f} apart",
    "minimality": "{single} of {nodes} could go",
    "shuffled": "{reached} of {searches} reach it",
    "seeds": "overlap {jaccard_mean:.2f}",
    "resamplings": "overlap {jaccard_mean:.2f}",
    "dictionaries": "smallest {smallest}, own {own_size}",
    "edge-attribution": "rank correlation {rank_correlation:.2f}",
    "edge-circuit": "faithfulness {faithfulness:.3f}",
    "edge-draws": "overlap {jaccard_mean:.2f}",
}
"""The number of each line that tells most, for a table, by the line's key."""
DECIDING = frozenset({"task", "held-out", "overfit", "answers", "errors", "completeness", "random", "shuffled"})
"""Lines that decide: together they say that a circuit is enough for the behaviour, needed for it, and no accident."""


@dataclass(frozen=True, slots=True)
class AuditSearch:
    """One search that an audit makes; `draw` is the seed that resamples its prompts or shuffles its labels."""

    kind: str
    seed: int
    draw: int

    @property
    def id(self) -> str:
        """A name that no other search of the same audit has; it can name a folder."""
        return f"{self.kind}-{self.seed}-{self.draw}"


@dataclass(frozen=True, slots=True)
class SearchRun:
    """One search made for the audit, and the circuit it found.

    `kind`, `seed` and `draw` are those of its `AuditSearch`. `train` and `test` are the circuit's faithfulness, None
    if it has no value.
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
    """One line of the audit, measured.

    Attributes:
        key: names the line, as in the circuit file.
        verdict: by the thresholds of the measure's module.
        says: one sentence: what was found, and what it means.
        numbers: by name; None for a number without a value.
        runs: the searches on which the line rests.
    """

    key: str
    verdict: Verdict
    says: str
    numbers: Mapping[str, Number] = field(default_factory=dict)
    runs: tuple[SearchRun, ...] = ()

    @property
    def title(self) -> str:
        """The line's title for a reader."""
        return TITLES[self.key]

    @property
    def key_number(self) -> str:
        """The number that tells most, with a word that says what it is; empty where it was not measured."""
        try:
            text = KEY_NUMBERS.get(self.key, "").format_map(self.numbers)
        except (KeyError, TypeError, ValueError):  # not measured, or without a value
            return ""
        return re.sub(r"-(0(\.0*)?)(?![.\d])", r"\1", text)  # a number that rounds to zero has no sign

    @property
    def decides(self) -> bool:
        """Whether a bad verdict means that the circuit is not to be believed. Other lines limit what may be claimed."""
        return self.key in DECIDING


@dataclass(frozen=True, slots=True)
class AuditProgress:
    """How far an audit is: the line under way, `done` of `total` lines, the `share` 0..1 of the whole, and seconds.

    `searches` is (finished, all) if searches are made in processes of their own, else None.
    """

    title: str
    done: int
    total: int
    share: float
    seconds: float
    seconds_left: float | None
    searches: tuple[int, int] | None = None


Measurement = Generator[float | None, None, Finding]
"""A measure under way: it yields after each piece of work, at times with the share 0..1 that is done."""


def rescaled(
    steps: Generator[float | None, None, Result], start: float, stop: float
) -> Generator[float | None, None, Result]:
    """Runs `steps` with its shares mapped from 0..1 to `start`..`stop`."""
    while True:
        try:
            share = next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        yield None if share is None else start + (stop - start) * share


def grade(value: float, good: float, doubtful: float) -> Verdict:
    """Returns good up to and including `good`, doubtful up to and including `doubtful`, else bad; NaN is bad."""
    return "good" if value <= good else "doubtful" if value <= doubtful else "bad"


def worst_verdict(*verdicts: Verdict) -> Verdict:
    """Returns the worst of some verdicts; ``not measured`` counts only if all of them are that."""
    measured = [verdict for verdict in verdicts if verdict != "not measured"]
    return max(measured, key=VERDICTS.index, default="not measured")


def outcome(findings: tuple[Finding, ...], *, finished: bool) -> Outcome:
    """Returns what the lines say together.

    ``do not believe``: a deciding line is bad. ``believable within limits``: a deciding line is doubtful or was not
    measured, or any other line is bad.
    """
    deciding = {finding.verdict for finding in findings if finding.decides}
    if "bad" in deciding:
        return "do not believe"
    if not finished:
        return "not finished"
    limited = deciding != {"good"} or any(finding.verdict == "bad" for finding in findings)
    return "believable within limits" if limited else "believable"


def reasons(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Returns the titles of the lines that keep the outcome from being ``believable``."""
    against = [finding.title for finding in findings if finding.decides and finding.verdict == "bad"]
    limits = (
        finding.title
        for finding in findings
        if finding.verdict == "bad" or (finding.decides and finding.verdict != "good")
    )
    return tuple(against or limits)


def finite(value: float) -> float | None:
    """Returns `value`, or None if it is infinite or NaN."""
    return value if math.isfinite(value) else None
