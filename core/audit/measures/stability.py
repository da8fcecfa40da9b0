"""Would another seed, or other prompts of the same kind, have given another circuit?

The same search is run with other seeds, and on bootstrap resamplings of the search prompts (as many, drawn with
replacement). Two circuits are compared by Jaccard overlap |A and B| / |A or B|: two circuits of one size that share
four of five nodes have 2/3, half of their nodes 1/3. Every run is a circuit found for itself; containment in one run's
larger circuits is no stability.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import combinations

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import AuditSearch, Finding, Measuring, SearchRun, within
from circuit_tui.core.audit.searches import quick_word, run_search
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.choices import Verdict

OVERLAP = 2 / 3, 1 / 3
"""Mean Jaccard overlap of two runs: four of five nodes the same; half of them."""


def seeds(subject: AuditedCircuit) -> Measuring:
    """The search with the seeds after the circuit's own."""
    return (yield from _stability(subject, "seeds", seed_searches(subject.settings)))


def resamplings(subject: AuditedCircuit) -> Measuring:
    """The search with the circuit's own seed on resampled prompts."""
    return (yield from _stability(subject, "resamplings", resampled_searches(subject.settings)))


def seed_searches(settings: AuditSettings) -> tuple[AuditSearch, ...]:
    """The searches of the line `seeds`; one would not be compared with anything."""
    count = settings.seeds if settings.seeds > 1 else 0
    return tuple(AuditSearch("seeds", seed, seed) for seed in _after(settings.seed, count))


def resampled_searches(settings: AuditSettings) -> tuple[AuditSearch, ...]:
    """The searches of the line `resamplings`."""
    count = settings.resamplings if settings.resamplings > 1 else 0
    return tuple(AuditSearch("resamplings", settings.seed, draw) for draw in _after(settings.seed, count))


def _after(seed: int, count: int) -> range:
    return range(seed + 1, seed + 1 + count)


def jaccard(first: Collection[int], second: Collection[int]) -> float:
    """|A and B| / |A or B|; two empty circuits are the same."""
    one, other = set(first), set(second)
    return len(one & other) / len(one | other) if one | other else 1.0


def shares(runs: Sequence[SearchRun]) -> dict[int, float]:
    """For every node that any of `runs` chose the share of them that did."""
    chosen = Counter(node for run in runs for node in run.nodes)
    return {node: chosen[node] / len(runs) for node in sorted(chosen)}


def _stability(subject: AuditedCircuit, key: str, searches: Sequence[AuditSearch]) -> Measuring:
    if not searches:
        return Finding(key, "not measured", "Two searches at least are needed, and were not asked for.")
    runs: list[SearchRun] = []
    for index, search in enumerate(searches):
        share = index / len(searches), (index + 1) / len(searches)
        runs.append((yield from within(run_search(subject, search), *share)))
    pairs = [jaccard(one.nodes, other.nodes) for one, other in combinations(runs, 2)]
    own = [jaccard(subject.kept.nonzero()[:, 0].tolist(), run.nodes) for run in runs]
    mean, always = sum(pairs) / len(pairs), sum(share == 1 for share in shares(runs).values())
    of_own = [shares(runs).get(int(node), 0.0) for node in subject.kept.nonzero()[:, 0]]
    verdict: Verdict = "bad" if mean < OVERLAP[1] else "doubtful" if mean < OVERLAP[0] else "good"
    sizes = [run.size for run in runs]
    return Finding(
        key, verdict,
        f"{len(runs)} {quick_word(subject)}searches find {min(sizes)} to {max(sizes)} nodes, two of them overlap by "
        f"{mean:.2f} (Jaccard, least {min(pairs):.2f}), with the circuit by {sum(own) / len(own):.2f}, and {always} "
        f"nodes are always there: {_SAYS[verdict]}.",
        {
            "jaccard_mean": mean, "jaccard_min": min(pairs), "jaccard_with_circuit": sum(own) / len(own),
            "size_min": min(sizes), "size_max": max(sizes), "always": always, "searches": len(runs),
            "reached": sum(run.reached for run in runs),
            "mean_share_of_its_nodes": sum(of_own) / len(of_own) if of_own else None,
        },
        runs=tuple(runs),
    )  # fmt: skip


_SAYS = {
    "good": "it is much the same circuit each time",
    "doubtful": "part of it is one choice among several",
    "bad": "it is one of many circuits that would do",
}
