"""Searches that score every node once and keep the best: the target decides how many.

Faithfulness does not grow steadily with size. To find the smallest prefix of the ranking that reaches the target, sizes
on a grid are evaluated in ascending order, and then each size in the gap before the first that does, in steps of at
most `FINE_SHARE`. Lower levels on the way are treated in the same manner, so that the frontier is as exact there.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Sequence
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.evaluation.many_circuits import most_at_once
from circuit_tui.core.search.judge import Judgement
from circuit_tui.core.search.loops import NotFinite
from circuit_tui.core.search.method import SearchMethod, Settings, Steps
from circuit_tui.core.views import SearchProgress

GRID_FACTOR = 1.15
FINE_SHARE = 0.01
LEVELS = (0.8, 0.9, 0.95, 0.99)
Scoring = Generator[float, None, Tensor]
"""Yields the share that is done after each step, at last 1; returns the score of each node, `[node]`."""


class RankingMethod(SearchMethod[Settings]):
    """A search by one score for each node."""

    @abstractmethod
    def score_nodes(self) -> Scoring:
        """Scores every node; the nodes with the largest scores are kept first."""

    def steps(self) -> Steps:
        """Scores all nodes, then evaluates prefixes of their ranking."""
        empty = torch.zeros(len(self.problem.space), dtype=torch.bool)
        scoring = self.score_nodes()
        while True:
            try:
                share = next(scoring)
            except StopIteration as end:
                scores: Tensor = end.value
                break
            yield self.progress("score", empty, share / 2)
            if self.stopped:
                return
        if not bool(torch.isfinite(scores).all()):
            raise NotFinite("a node's score")
        yield from offer_prefixes(self, scores)


def offer_prefixes(attempt: SearchMethod[Any], scores: Tensor, start: float = 0.5) -> Steps:
    """Offers prefixes of the ranking by `scores` `[node]`, smallest first, up to the first that reaches the target.

    `start` is the share of the search that is over when it begins.
    """
    prefixes = _Prefixes(attempt, scores.argsort(descending=True, stable=True))
    target = attempt.spec.target
    levels = [level for level in LEVELS if level < target] + [target]
    below = 0
    sizes = size_grid(len(scores))
    for at, size in enumerate(sizes):
        share = start + (0.9 - start) * at / len(sizes)
        reached = yield from prefixes.offer(sizes[at:], share)
        if attempt.stopped:
            return
        passed = [level for level in levels if reached >= level]
        if passed:
            between = range(below + 1, size, max(1, int(size * FINE_SHARE)))
            for first in range(len(between)):
                reached = yield from prefixes.offer(between[first:], share)
                if attempt.stopped or reached >= max(passed):
                    break
            if attempt.stopped or reached >= target or target in passed:
                return
            levels = [level for level in levels if level not in passed]
        below = size


class _Prefixes:
    """The prefixes of the ranking `order` `[node]`, judged ahead as far as the device runs several at once."""

    def __init__(self, attempt: SearchMethod[Any], order: Tensor) -> None:
        self._attempt, self._order = attempt, order
        self._judged = dict[int, Judgement]()

    def offer(self, sizes: Sequence[int], share_done: float) -> Generator[SearchProgress, None, float]:
        """Offers the prefix of the first of `sizes` and returns its score; the others may be asked for next."""
        attempt, size = self._attempt, sizes[0]
        kept = prefix(self._order, size)
        yield attempt.progress("eliminate", kept, share_done)
        if attempt.stopped:
            return 0.0
        if size not in self._judged:
            ahead = sizes[: most_at_once(attempt.problem)]
            circuits = torch.stack([prefix(self._order, one) for one in ahead])
            self._judged |= zip(ahead, attempt.judge.judge_first(circuits).result(), strict=False)
        attempt.offer(kept, self._judged[size])
        return self._judged[size].score


def offer_doubled_prefixes(attempt: SearchMethod[Any], scores: Tensor) -> None:
    """Offers prefixes of doubled sizes up to one that reaches the target: few evaluations, for a stopped search."""
    order, size = scores.argsort(descending=True, stable=True), 1
    while True:
        kept = prefix(order, size)
        judgement = attempt.judge.judge(kept).result()
        attempt.offer(kept, judgement)
        if attempt.score_reaches(judgement.score) or size >= len(order):
            return
        size = min(2 * size, len(order))


def prefix(order: Tensor, size: int) -> Tensor:
    """The first `size` nodes of `order` `[node]`, as `[node]` bool."""
    kept = torch.zeros(len(order), dtype=torch.bool)
    kept[order[:size]] = True
    return kept


def size_grid(largest: int) -> list[int]:
    """Sizes from 1 to `largest`, each at least one more and about `GRID_FACTOR` times the last."""
    sizes, size = [], 1
    while size < largest:
        sizes.append(size)
        size = max(size + 1, round(size * GRID_FACTOR))
    return [*sizes, largest]
