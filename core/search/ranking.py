"""Searches that score every node once and keep the best: the target picks how many.

Faithfulness does not grow steadily with size, so the smallest prefix of the ranking that reaches the target is looked
for by evaluating sizes in ascending order on a grid, and then each size in the gap before the first that does, in steps
of at most `FINE_SHARE`. Lower levels on the way are looked for in the same manner, so that the frontier is as exact
there.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Iterator

import torch
from torch import Tensor

from circuit_tui.core.search.search import Search, Steps
from circuit_tui.core.views import SearchProgress

GRID_FACTOR = 1.15
FINE_SHARE = 0.01
LEVELS = (0.8, 0.9, 0.95, 0.99)


class RankingSearch(Search):
    """A search by one score for each node."""

    @abstractmethod
    def score_nodes(self) -> Iterator[tuple[float, Tensor | None]]:
        """Yields (share done, None) after each step and last (1, score `[node]`), larger kept first."""

    def steps(self) -> Steps:
        """See `Search.steps`."""
        nobody = torch.zeros(len(self.problem.space), dtype=torch.bool)
        scores: Tensor | None = None
        for share, latest in self.score_nodes():
            scores = latest
            yield self.progress("score", nobody, share / 2)
            if self.stopped:
                return
        assert scores is not None
        yield from walk(self, scores)


def walk(search: Search, scores: Tensor, start: float = 0.5) -> Steps:
    """Offers prefixes of the ranking by `scores` `[node]`, smallest first, up to the first that reaches the target.

    `start` is the share of the search that is over when it begins.
    """
    order = scores.argsort(descending=True, stable=True)
    levels = [level for level in LEVELS if level < search.target] + [search.target]
    below = 0
    sizes = size_grid(len(order))
    for at, size in enumerate(sizes):
        share = start + (0.9 - start) * at / len(sizes)
        score = yield from _offer(search, order, size, share)
        if search.stopped:
            return
        passed = [level for level in levels if score >= level]
        if passed:
            for between in range(below + 1, size, max(1, int(size * FINE_SHARE))):
                score = yield from _offer(search, order, between, share)
                if search.stopped or score >= max(passed):
                    break
            if search.stopped or score >= search.target or search.target in passed:
                return
            levels = [level for level in levels if level not in passed]
        below = size


def _offer(search: Search, order: Tensor, size: int, share: float) -> Generator[SearchProgress, None, float]:
    """Evaluates one prefix, and returns its score."""
    kept = prefix(order, size)
    yield search.progress("eliminate", kept, share)
    if search.stopped:
        return 0.0
    faithfulness = search.train.faithfulness(kept).result()
    search.offer(kept, faithfulness)
    return search.score(faithfulness)


def offer_roughly(search: Search, scores: Tensor) -> None:
    """Offers prefixes of doubled sizes up to one that reaches the target: for a search that is stopped."""
    order, size = scores.argsort(descending=True, stable=True), 1
    while True:
        kept = prefix(order, size)
        faithfulness = search.train.faithfulness(kept).result()
        search.offer(kept, faithfulness)
        if search.reaches(faithfulness) or size >= len(order):
            return
        size = min(2 * size, len(order))


def prefix(order: Tensor, size: int) -> Tensor:
    """The first `size` nodes of `order` `[node]`, as `[node]` bool."""
    kept = torch.zeros(len(order), dtype=torch.bool)
    kept[order[:size]] = True
    return kept


def size_grid(largest: int) -> list[int]:
    """Sizes from 1 to `largest`, each at least one and about `GRID_FACTOR` times the last."""
    sizes, size = [], 1
    while size < largest:
        sizes.append(size)
        size = max(size + 1, round(size * GRID_FACTOR))
    return [*sizes, largest]
