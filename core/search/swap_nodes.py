"""Add-and-drop: a local search for a smaller circuit around a minimal one.

Add the outside node that brings faithfulness closest to 1; then drop whatever can go. Two dropped for one added is a
smaller circuit. One for one is kept only if it leaves more faithfulness to spend, and each node that was tried and
did not help is left alone from then on, so the search ends.
"""

from __future__ import annotations

from circuit_tui.core.runtime.incremental import Increments
from circuit_tui.core.search.eliminate import Elimination

ADDITIONS = 6
DROPS = 12


def swap_nodes(elimination: Elimination, evaluations: int) -> Increments[None]:
    """Spends about `evaluations` evaluations at most, most of them on the probe."""
    search = elimination.search
    spent, tried = 0, set[int]()
    if not search.reaches(elimination.faithfulness):
        return
    while spent < evaluations and not search.stopped:
        elimination.share = spent / evaluations
        before, score = elimination.kept, elimination.score
        probed = elimination.probed(before)
        gradient = elimination.gradient()
        spent += 3  # a forward and a backward pass
        gain = gradient * (1 if elimination.faithfulness < 1 else -1)
        outside = [node for node in gain.argsort(descending=True).tolist() if not before[node] and node not in tried]
        best, best_score = -1, probed
        for node in outside[:ADDITIONS]:
            value = elimination.probed(elimination.with_nodes([node], True))
            spent += 1
            yield
            if value > best_score:
                best, best_score = node, value
        tried.update(outside[:ADDITIONS])
        if best < 0:
            break
        yield from elimination.change(elimination.with_nodes([best], True))
        order = sorted(
            (node for node in elimination.nodes if node != best), key=lambda node: abs(float(gradient[node]))
        )
        order = order[:DROPS]
        for _ in elimination.probe_losses(order):
            spent += 1
            yield
        for node in elimination.least_lost(order):
            spent += 1
            if search.stopped or not (yield from elimination.drop_if_enough(node)):
                break
        size, old_size = len(elimination.nodes), int(before.sum())
        if size > old_size or (size == old_size and elimination.score <= score + 1e-6):
            yield from elimination.change(before)
