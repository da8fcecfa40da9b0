"""Frontiers from recorded runs: chosen on the search prompts, read on the held-out ones.

    score          1 - |1 - f|: overshooting is as wrong as falling short
    frontier       of all circuits of a seed, those that no smaller one equals in score on the search prompts
    nodes needed   size of the first circuit of the frontier whose held-out score is at least the level
    area           1 / ln N * integral of |1 - f(n)| d ln n from 1 to N, N the candidates, f(n) the held-out
                   faithfulness of the largest circuit of the frontier with at most n nodes, 0 before the first

The area is that of the CMD measure of MIB (Mueller et al. 2025), over the logarithm of the size: 0 is best, 1 is a
method that finds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from circuit_tui.core.runs.record import RunPoint
from circuit_tui.core.search.frontier import score


def frontier(points: Iterable[RunPoint]) -> tuple[RunPoint, ...]:
    """The points, ascending in size, that no smaller point equals in train score; of one size, the best on train."""
    chosen: list[RunPoint] = []
    for point in sorted(points, key=lambda point: (point.size, -score(point.train))):
        if not chosen or score(point.train) > score(chosen[-1].train):
            chosen.append(point)
    return tuple(chosen)


def nodes_needed(points: Sequence[RunPoint], level: float) -> int | None:
    """Size of the first of the frontier `points` whose held-out score is at least `level`, None if there is none."""
    return next((point.size for point in points if score(point.test) >= level), None)


def chosen_at(points: Sequence[RunPoint], level: float) -> RunPoint | None:
    """The first of the frontier `points` whose score on the search prompts is at least `level`."""
    return next((point for point in points if score(point.train) >= level), None)


def held_out(points: Sequence[RunPoint], size: int) -> float:
    """Held-out faithfulness of the largest of the frontier `points` with at most `size` nodes, 0 before the first."""
    return next((point.test for point in reversed(points) if point.size <= size), 0.0)


def area(points: Sequence[RunPoint], candidates: int) -> float:
    """Mean |1 - f| over the logarithm of the size, see the module."""
    if candidates < 2:
        return abs(1 - held_out(points, candidates))
    steps = sorted({1, candidates, *(point.size for point in points if 1 <= point.size <= candidates)})
    total = sum(abs(1 - held_out(points, low)) * math.log(high / low) for low, high in pairwise(steps))
    return total / math.log(candidates)
