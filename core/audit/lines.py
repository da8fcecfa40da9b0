"""The lines of the audit, in the order in which they are computed and shown: cheap lines come first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import AuditSearch, Measurement
from circuit_tui.core.audit.measures import (
    ablations,
    completeness,
    dictionaries,
    distribution,
    edges,
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
"""Seconds of a default search on the demo, the unit of `AuditLine.weight`. Only the estimate of progress uses them."""


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One line of the audit: its key, its measure, the seconds that takes, and the searches on which it rests.

    `eliminates` says that it rests on several eliminations of edges.
    """

    key: str
    measure: Callable[[AuditedCircuit], Measurement]
    weight: float = 0.1
    searches: Callable[[AuditSettings], tuple[AuditSearch, ...]] = lambda settings: ()
    eliminates: bool = False

    def is_long(self, settings: AuditSettings) -> bool:
        """Whether the line rests on searches or on several eliminations of edges."""
        return bool(self.searches(settings)) or self.eliminates


LINES: tuple[AuditLine, ...] = (
    AuditLine("task", held_out.task),
    AuditLine("held-out", held_out.held_out),
    AuditLine("overfit", held_out.overfit),
    AuditLine("unseen", held_out.unseen),
    AuditLine("answers", per_prompt.answers),
    AuditLine("errors", per_prompt.errors),
    AuditLine("averaging", ablations.averaging),
    AuditLine("distribution", distribution.distribution),
    AuditLine("completeness", completeness.without_circuit),
    AuditLine("splice-task", splice_cost.on_task),
    AuditLine("splice-text", splice_cost.on_text, 2.0),
    AuditLine("random", random_circuits.random_circuits, 2.0),
    AuditLine("ablation", ablations.sensitivity, 4.0),
    AuditLine("subsets", completeness.subsets, 6.0),
    AuditLine("minimality", minimality.minimality, 15.0),
    AuditLine("shuffled", shuffled.shuffled, 0.0, shuffled.shuffled_searches),
    AuditLine("seeds", stability.seeds, 0.0, stability.seed_searches),
    AuditLine("resamplings", stability.resamplings, 0.0, stability.resampled_searches),
    AuditLine("dictionaries", dictionaries.dictionaries, 0.0, dictionaries.dictionary_searches),
)
EDGE_LINES: tuple[AuditLine, ...] = (
    AuditLine("edge-attribution", edges.attribution, 4.0),
    AuditLine("edge-circuit", edges.edge_circuit, 2.0),
    AuditLine("edge-draws", edges.draws, 20.0, eliminates=True),
)
"""The lines on a circuit's edges."""


def lines_of(settings: AuditSettings) -> tuple[AuditLine, ...]:
    """Returns the lines of an audit with these settings, in their order."""
    return LINES + EDGE_LINES if settings.edges else LINES


def searches_left(lines: Sequence[AuditLine], audited: AuditedCircuit) -> tuple[AuditSearch, ...]:
    """Returns the searches on which `lines` rest, less those that the same audit finished before it was cut off."""
    log = audited.log
    measured = frozenset[str]() if log is None else log.findings.keys()
    searches = (search for line in lines if line.key not in measured for search in line.searches(audited.settings))
    return tuple(search for search in searches if log is None or log.run(search) is None)
