"""Searches that score every node once and keep the best: the target picks how many.

Faithfulness does not grow steadily with size, so the smallest prefix of the ranking that reaches the target is looked
for by evaluating sizes in ascending order on a grid, and then each size in the gap before the first that does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from circuit_tui.core.search.search import Search, Steps

GRID_FACTOR = 1.15


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
        order = scores.argsort(descending=True, stable=True)
        below = 0
        sizes = size_grid(len(order))
        for at, size in enumerate(sizes):
            kept = self._prefix(order, size)
            yield self.progress("eliminate", kept, 0.5 + 0.4 * at / len(sizes))
            if self.stopped:
                return
            if self.reaches(self._faithfulness(kept)):
                for between in range(below + 1, size):
                    kept = self._prefix(order, between)
                    yield self.progress("eliminate", kept, 0.95)
                    if self.stopped or self.reaches(self._faithfulness(kept)):
                        return
                return
            below = size

    def _faithfulness(self, kept: Tensor) -> float:
        value = self.train.faithfulness(kept)
        self.offer(kept, value)
        return value

    def _prefix(self, order: Tensor, size: int) -> Tensor:
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
