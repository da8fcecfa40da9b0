"""The lines of the audit, in the order in which they are computed and shown: what is cheap comes first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import AuditSearch, Measuring
from circuit_tui.core.audit.measures import (
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
from circuit_tui.core.audit.settings import AuditSettings

SEARCH_SECONDS = 12.0
"""A default search on the demo, where weights are about seconds. They only serve to say how far the audit is."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its key, how it is measured, how long that takes, and the searches it rests on."""

    key: str
    measure: Callable[[AuditedCircuit], Measuring]
    weight: float = 0.1
    searches: Callable[[AuditSettings], tuple[AuditSearch, ...]] = lambda settings: ()


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
    Line("shuffled", shuffled.shuffled, 0.0, shuffled.shuffled_searches),
    Line("seeds", stability.seeds, 0.0, stability.seed_searches),
    Line("resamplings", stability.resamplings, 0.0, stability.resampled_searches),
)


def searches_left(lines: Sequence[Line], subject: AuditedCircuit) -> tuple[AuditSearch, ...]:
    """The searches that `lines` rest on, but those that an audit which was cut off had finished."""
    kept = subject.log
    known = frozenset[str]() if kept is None else kept.findings.keys()
    asked = (search for line in lines if line.key not in known for search in line.searches(subject.settings))
    return tuple(search for search in asked if kept is None or kept.run(search) is None)
