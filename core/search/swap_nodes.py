"""Add-and-drop: a local search for a smaller circuit around one that was eliminated down to the target.

Add the outside node that brings faithfulness closest to 1, then drop whatever can go. Two dropped for one added make a
smaller circuit. One for one is kept only if it leaves more score to spend. A node that was tried is not tried again, so
the search ends.
"""

from __future__ import annotations

from circuit_tui.core.runtime.incremental import Increments
from circuit_tui.core.search.probed_circuit import ProbedCircuit

ADDITIONS = 6
DROPS = 12
GRADIENT_COST = 3
"""A forward and a backward pass cost about as much as so many evaluations."""


def swap_nodes(circuit: ProbedCircuit, evaluations: int) -> Increments[None]:
    """Spends about `evaluations` evaluations at most, most of them on the probe."""
    attempt, spent, tried = circuit.attempt, 0, set[int]()
    if not circuit.reaches_target:
        return
    while spent < evaluations and not attempt.stopped:
        circuit.share_done = spent / evaluations
        before, score = circuit.kept, circuit.score
        best, best_score = -1, circuit.probe_score
        gradient = circuit.mask_gradient()
        spent += GRADIENT_COST
        promising = gradient.argsort(descending=True).tolist()
        outside = [node for node in promising if not before[node] and node not in tried]
        added = outside[:ADDITIONS]
        tried.update(added)
        while added:
            values = circuit.probe_scores_with_first_toggled(added)
            for node, value in zip(added, values, strict=False):
                spent += 1
                yield
                if value > best_score:
                    best, best_score = node, value
            added = added[len(values) :]
        if best < 0:
            break
        yield from circuit.change(circuit.with_nodes([best], True))
        order = [node for node in circuit.sorted_by_gradient(gradient) if node != best][:DROPS]
        for _ in circuit.measure_probe_losses(order):
            spent += 1
            yield
        for node in circuit.sorted_by_probe_loss(order):
            spent += 1
            if (yield from circuit.drop_first_possible([[node]])) is None:
                break
        size, old_size = len(circuit.nodes), int(before.sum())
        if size > old_size or (size == old_size and circuit.score <= score + 1e-6):
            yield from circuit.change(before)
