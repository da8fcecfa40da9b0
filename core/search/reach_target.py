"""Two promises around an elimination: the target is reached where it can be, and what is returned is minimal."""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.runtime.incremental import Increments
from circuit_tui.core.search.eliminate import Elimination


def reach_target(elimination: Elimination, order: Tensor) -> Increments[None]:
    """Adds the nodes of `order` `[node]`, twice as many each time, until the target is reached.

    Too many can be as wrong as too few: where faithfulness comes to lie beyond 1, it looks for the number in between
    that reaches the target, with fewer of the circuit's own nodes where they alone are too many. Leaves the circuit as
    it was if not even all nodes do.
    """
    search, before = elimination.search, elimination.kept
    ranked = sorted(order.tolist(), key=lambda node: not before[node])  # the circuit's own first
    count = len(elimination.nodes)
    short, step, beyond = 0, max(1, count // 4), False
    while not search.stopped and not search.reaches(elimination.faithfulness):
        if elimination.faithfulness <= 1:
            short, beyond = count, False
        elif not beyond:
            beyond = True
            if (yield from _between(elimination, ranked, short, count)):
                return
        if count == len(ranked):
            yield from elimination.change(before)
            return
        count, step = min(len(ranked), count + step), 2 * step
        yield from elimination.change(_first(elimination, ranked, count))
        elimination.share = count / len(ranked)


def _between(elimination: Elimination, ranked: list[int], short: int, beyond: int) -> Increments[bool]:
    """Halves the way between the first `short` nodes, too few, and the first `beyond`, too many; tells if that did."""
    search = elimination.search
    while beyond - short > 1 and not search.stopped:
        middle = (short + beyond) // 2
        yield from elimination.change(_first(elimination, ranked, middle))
        if search.reaches(elimination.faithfulness):
            return True
        short, beyond = (middle, beyond) if elimination.faithfulness <= 1 else (short, middle)
    return False


def _first(elimination: Elimination, ranked: list[int], count: int) -> Tensor:
    kept = torch.zeros_like(elimination.kept)
    kept[ranked[:count]] = True
    return kept


def best_to_minimal(elimination: Elimination) -> Increments[None]:
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
