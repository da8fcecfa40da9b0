"""The lines of the audit, in the order in which they are computed and shown: what is cheap comes first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from circuit_tui.core.audit import (
    ablations,
    completeness,
    distribution,
    held_out,
    minimality,
    per_prompt,
    random_circuits,
    shuffled,
    splice_cost,
    stability,
)
from circuit_tui.core.audit.finding import Measuring
from circuit_tui.core.audit.subject import AuditSettings, Subject

SEARCH_SECONDS = 12.0
"""A default search on the demo, where weights are about seconds. They only serve to say how far the audit is."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its key, how it is measured, how long that takes, and how many searches it needs."""

    key: str
    measure: Callable[[Subject], Measuring]
    weight: float = 0.1
    searches: Callable[[AuditSettings], int] = lambda settings: 0


LINES: tuple[Line, ...] = (
    Line("task", held_out.task),
    Line("held-out", held_out.held_out),
    Line("overfit", held_out.overfit),
    Line("unseen", held_out.unseen),
    Line("answers", per_prompt.answers),
    Line("errors", per_prompt.errors),
    Line("averaging", ablations.averaging),
    Line("distribution", distribution.distribution),
    Line("completeness", completeness.removal),
    Line("splice-task", splice_cost.on_task),
    Line("splice-text", splice_cost.on_text, 2.0),
    Line("random", random_circuits.random_circuits, 2.0),
    Line("ablation", ablations.sensitivity, 4.0),
    Line("subsets", completeness.subsets, 6.0),
    Line("minimality", minimality.minimality, 15.0),
    Line("shuffled", shuffled.shuffled, 0.0, lambda settings: settings.shuffles),
    Line("seeds", stability.seeds, 0.0, lambda settings: settings.seeds),
    Line("resamplings", stability.resamplings, 0.0, lambda settings: settings.resamplings),
)
