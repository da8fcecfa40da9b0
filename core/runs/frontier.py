"""Frontiers of recorded runs: circuits are chosen on the search prompts and judged on the held-out ones.

    score          1 - |1 - f|: overshooting is as wrong as falling short
    frontier       the circuits of a seed that no smaller circuit equals in score on the search prompts
    nodes needed   the size of the first circuit of the frontier whose held-out score is at least the level
    area           1 / ln N * integral of |1 - f(n)| d ln n from 1 to N, N the candidates, f(n) the held-out
                   faithfulness of the largest circuit of the frontier with at most n nodes, 0 before the first

The area follows the CMD measure of MIB (Mueller et al. 2025), but over the logarithm of the size. 0 is best; a method
that finds nothing has 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from circuit_tui.core.runs.record import RunPoint
from circuit_tui.core.search.frontier import score


def frontier(points: Iterable[RunPoint]) -> tuple[RunPoint, ...]:
    """Returns the points that no smaller point equals in train score, ascending in size; one point for each size."""
    chosen: list[RunPoint] = []
    for point in sorted(points, key=lambda point: (point.size, -score(point.train))):
        if not chosen or score(point.train) > score(chosen[-1].train):
            chosen.append(point)
    return tuple(chosen)


def nodes_needed(points: Sequence[RunPoint], level: float) -> int | None:
    """Returns the size of the first of the frontier `points` with a held-out score of at least `level`, else None."""
    return next((point.size for point in points if score(point.test) >= level), None)


def chosen_for_level(points: Sequence[RunPoint], level: float) -> RunPoint | None:
    """Returns the first of the frontier `points` with a score of at least `level` on the search prompts, else None."""
    return next((point for point in points if score(point.train) >= level), None)


def held_out_faithfulness(points: Sequence[RunPoint], size: int) -> float:
    """Returns the held-out faithfulness of the largest of the frontier `points` with at most `size` nodes, else 0."""
    return next((point.test for point in reversed(points) if point.size <= size), 0.0)


def area(points: Sequence[RunPoint], candidates: int) -> float:
    """Returns the mean held-out |1 - f| over the logarithm of the size, from 1 to `candidates` nodes."""
    if candidates < 2:
        return abs(1 - held_out_faithfulness(points, candidates))
    steps = sorted({1, candidates, *(point.size for point in points if 1 <= point.size <= candidates)})
    total = sum(abs(1 - held_out_faithfulness(points, low)) * math.log(high / low) for low, high in pairwise(steps))
    return total / math.log(candidates)
