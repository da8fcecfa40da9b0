"""The second control: how small a circuit can the same search find for nonsense?

A mask over many nodes can be fitted to a task that makes no sense (Drori 2026). Right and wrong answer are exchanged on
a random half of the pairs, and the same search looks for a circuit that gives these answers as surely as the model
gives the real ones (`altered_problem.with_shuffled_labels`). A search of this kind finds as much in anything.
"""

from __future__ import annotations

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import AuditSearch, Finding, Measurement, rescaled
from circuit_tui.core.audit.searches import quick_adjective, run_search
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.choices import Verdict
from circuit_tui.core.search.frontier import score

SIZE_FACTOR = 2
"""If a circuit for nonsense has at most so many times the circuit's nodes, the search would find one for anything."""
TARGET_SHARE = 0.5
"""A circuit for nonsense is doubtful if it reaches more than this share of the target."""


def shuffled(audited: AuditedCircuit) -> Measurement:
    """Runs the search on shuffled labels, `shuffles` times; the run that gets furthest counts."""
    searches = shuffled_searches(audited.settings)
    if not searches:
        return Finding("shuffled", "not measured", "No search on shuffled labels was asked for.")
    runs, count = [], len(searches)
    for index, search in enumerate(searches):
        steps = run_search(audited, search)
        runs.append((yield from rescaled(steps, index / count, (index + 1) / count)))
    furthest = max(runs, key=lambda run: (run.reached, -run.size if run.reached else _score(run.train)))
    verdict: Verdict = "good" if _score(furthest.train) <= TARGET_SHARE * audited.search.target else "doubtful"
    if furthest.reached and furthest.size <= SIZE_FACTOR * audited.size:
        verdict = "bad"
    found = "one that reaches the target" if furthest.reached else f"none; the best, at {_score(furthest.train):.3f},"
    return Finding(
        "shuffled", verdict,
        f"For shuffled labels the {quick_adjective(audited)}search finds {found} with {furthest.size} nodes, where the "
        f"circuit has {audited.size}; on held-out nonsense it comes to {_text(furthest.test)}: {_MEANING[verdict]}.",
        {
            "reached": sum(run.reached for run in runs), "searches": count, "size": furthest.size,
            "faithfulness": furthest.train, "held_out": furthest.test, "own_size": audited.size,
        },
        runs=tuple(runs),
    )  # fmt: skip


def shuffled_searches(settings: AuditSettings) -> tuple[AuditSearch, ...]:
    """Returns the searches on shuffled labels, with the circuit's own seed."""
    first = settings.seed + 1
    return tuple(AuditSearch("shuffled", settings.seed, draw) for draw in range(first, first + settings.shuffles))


def _score(faithfulness: float | None) -> float:
    return float("-inf") if faithfulness is None else score(faithfulness)


def _text(faithfulness: float | None) -> str:
    return "no number" if faithfulness is None else f"{faithfulness:.3f}"


_MEANING = {
    "good": "it cannot find what is not there",
    "doubtful": "given enough nodes it fits labels that mean nothing",
    "bad": "it finds as much in nothing",
}
