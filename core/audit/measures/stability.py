"""Would another seed, or other prompts of the same kind, have given another circuit?

The same search runs with other seeds, and on bootstrap resamplings of the search prompts (as many, drawn with
replacement). Two circuits are compared by their Jaccard overlap |A and B| / |A or B|. Two circuits of one size that
share four of five nodes have an overlap of 2/3; if they share half of their nodes, it is 1/3. Every run counts with the
circuit it returned: a circuit contained in another run's larger circuits is not stable for that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import AuditSearch, Finding, Measurement, SearchRun, rescaled
from circuit_tui.core.audit.searches import quick_adjective, run_search
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.choices import Verdict
from circuit_tui.core.circuits.compare_circuits import jaccard

OVERLAP_LIMITS = 2 / 3, 1 / 3
"""Mean Jaccard overlap of two runs, good and doubtful from here on: four of five nodes the same, and half of them."""


def seeds(audited: AuditedCircuit) -> Measurement:
    """Runs the search with the seeds that follow the circuit's own."""
    return (yield from _stability(audited, "seeds", seed_searches(audited.settings)))


def resamplings(audited: AuditedCircuit) -> Measurement:
    """Runs the search with the circuit's own seed on resampled prompts."""
    return (yield from _stability(audited, "resamplings", resampled_searches(audited.settings)))


def seed_searches(settings: AuditSettings) -> tuple[AuditSearch, ...]:
    """Returns the searches of the line `seeds`; none instead of one, which could not be compared with another."""
    count = settings.seeds if settings.seeds > 1 else 0
    return tuple(AuditSearch("seeds", seed, seed) for seed in _after(settings.seed, count))


def resampled_searches(settings: AuditSettings) -> tuple[AuditSearch, ...]:
    """Returns the searches of the line `resamplings`; none instead of one."""
    count = settings.resamplings if settings.resamplings > 1 else 0
    return tuple(AuditSearch("resamplings", settings.seed, draw) for draw in _after(settings.seed, count))


def _after(seed: int, count: int) -> range:
    return range(seed + 1, seed + 1 + count)


def shares(runs: Sequence[SearchRun]) -> dict[int, float]:
    """Returns every node that any of `runs` chose, with the share of `runs` that chose it."""
    chosen = Counter(node for run in runs for node in run.nodes)
    return {node: chosen[node] / len(runs) for node in sorted(chosen)}


def _stability(audited: AuditedCircuit, key: str, searches: Sequence[AuditSearch]) -> Measurement:
    if not searches:
        return Finding(key, "not measured", "Two searches at least are needed, and were not asked for.")
    runs: list[SearchRun] = []
    for index, search in enumerate(searches):
        share = index / len(searches), (index + 1) / len(searches)
        runs.append((yield from rescaled(run_search(audited, search), *share)))
    pairs = [jaccard(one.nodes, other.nodes) for one, other in combinations(runs, 2)]
    own = [jaccard(audited.kept.nonzero()[:, 0].tolist(), run.nodes) for run in runs]
    mean, always = sum(pairs) / len(pairs), sum(share == 1 for share in shares(runs).values())
    own_shares = [shares(runs).get(int(node), 0.0) for node in audited.kept.nonzero()[:, 0]]
    verdict: Verdict = "bad" if mean < OVERLAP_LIMITS[1] else "doubtful" if mean < OVERLAP_LIMITS[0] else "good"
    sizes = [run.size for run in runs]
    return Finding(
        key, verdict,
        f"{len(runs)} {quick_adjective(audited)}searches find {min(sizes)} to {max(sizes)} nodes, two of them overlap "
        f"by {mean:.2f} (Jaccard, least {min(pairs):.2f}), with the circuit by {sum(own) / len(own):.2f}, and {always} "
        f"nodes are always there: {_MEANING[verdict]}.",
        {
            "jaccard_mean": mean, "jaccard_min": min(pairs), "jaccard_with_circuit": sum(own) / len(own),
            "size_min": min(sizes), "size_max": max(sizes), "always": always, "searches": len(runs),
            "reached": sum(run.reached for run in runs),
            "mean_share_of_its_nodes": sum(own_shares) / len(own_shares) if own_shares else None,
        },
        runs=tuple(runs),
    )  # fmt: skip


_MEANING = {
    "good": "it is much the same circuit each time",
    "doubtful": "part of it is one choice among several",
    "bad": "it is one of many circuits that would do",
}
