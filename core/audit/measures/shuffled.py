"""The second control: how small a circuit can the same search find for nonsense?

A mask over many nodes can be fitted to a task that makes no sense (Drori 2026). Right and wrong answer are exchanged on
a random half of the pairs, and the same search looks for a circuit that answers so, as surely as the model answers
the real labels (`other_problems.with_shuffled_labels`). What it finds on the search prompts is what a search of this
kind finds in anything.
"""

from __future__ import annotations

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import AuditSearch, Finding, Measuring, within
from circuit_tui.core.audit.searches import quick_word, run_search
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.choices import Verdict
from circuit_tui.core.search.frontier import score

TIMES = 2
"""A circuit for nonsense of up to this many times the nodes: the search would have found one for anything."""
HALF = 0.5
"""A circuit for nonsense that does half of what was asked for."""


def shuffled(subject: AuditedCircuit) -> Measuring:
    """The search on shuffled labels, `shuffles` times; the one that gets furthest counts."""
    searches = shuffled_searches(subject.settings)
    if not searches:
        return Finding("shuffled", "not measured", "No search on shuffled labels was asked for.")
    runs, count = [], len(searches)
    for index, search in enumerate(searches):
        steps = run_search(subject, search)
        runs.append((yield from within(steps, index / count, (index + 1) / count)))
    furthest = max(runs, key=lambda run: (run.reached, -run.size if run.reached else _score(run.train)))
    verdict: Verdict = "good" if _score(furthest.train) <= HALF * subject.search.target else "doubtful"
    if furthest.reached and furthest.size <= TIMES * subject.size:
        verdict = "bad"
    found = "one that reaches the target" if furthest.reached else f"none; the best, at {_score(furthest.train):.3f},"
    return Finding(
        "shuffled", verdict,
        f"For shuffled labels the {quick_word(subject)}search finds {found} with {furthest.size} nodes, where the "
        f"circuit has {subject.size}; on held-out nonsense it comes to {_text(furthest.test)}: {_SAYS[verdict]}.",
        {
            "reached": sum(run.reached for run in runs), "searches": count, "size": furthest.size,
            "faithfulness": furthest.train, "held_out": furthest.test, "own_size": subject.size,
        },
        runs=tuple(runs),
    )  # fmt: skip


def shuffled_searches(settings: AuditSettings) -> tuple[AuditSearch, ...]:
    """The searches on shuffled labels, with the circuit's own seed."""
    first = settings.seed + 1
    return tuple(AuditSearch("shuffled", settings.seed, draw) for draw in range(first, first + settings.shuffles))


def _score(faithfulness: float | None) -> float:
    return float("-inf") if faithfulness is None else score(faithfulness)


def _text(faithfulness: float | None) -> str:
    return "no number" if faithfulness is None else f"{faithfulness:.3f}"


_SAYS = {
    "good": "it cannot find what is not there",
    "doubtful": "given enough nodes it fits labels that mean nothing",
    "bad": "it finds as much in nothing",
}
