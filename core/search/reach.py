"""Two promises around an elimination: the target is reached where it can be, and what is returned is minimal."""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.search.eliminate import Elimination
from circuit_tui.core.slices import Slices


def reach(elimination: Elimination, order: Tensor) -> Slices[None]:
    """Adds the nodes of `order` `[node]`, twice as many each time, until the target is reached.

    Leaves the circuit as it was if not even all of them do.
    """
    search, before = elimination.search, elimination.kept
    outside = [node for node in order.tolist() if not before[node]]
    total, count = max(1, len(outside)), max(1, len(elimination.nodes) // 4)
    while not search.reaches(elimination.faithfulness):
        if search.stopped:
            return
        if not outside:
            yield from elimination.change(before)
            return
        yield from elimination.change(elimination.with_nodes(outside[:count], True))
        outside, count = outside[count:], 2 * count
        elimination.share = 1 - len(outside) / total


def best_to_minimal(elimination: Elimination) -> Slices[None]:
    """Makes the best circuit of the whole search minimal.

    It need not be the last that was eliminated from: a smaller circuit can reach the target though all between miss it.
    """
    search = elimination.search
    while search.best is not None and search.reaches(search.best[1]) and not search.stopped:
        best = search.best[0]
        if elimination.minimal is not None and torch.equal(best, elimination.minimal):
            return
        yield from elimination.change(best)
        yield from elimination.to_minimal()
