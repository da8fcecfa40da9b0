"""Makes a circuit reach the target where that is possible, and what is returned minimal."""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.runtime.incremental import Increments
from circuit_tui.core.search.eliminate import make_minimal
from circuit_tui.core.search.probed_circuit import ProbedCircuit


def reach_target(circuit: ProbedCircuit, order: Tensor) -> Increments[None]:
    """Adds the nodes of `order` `[node]`, twice as many each time, until the target is reached.

    Too many nodes can be as wrong as too few. Where faithfulness overshoots 1, the number of nodes is bisected, also
    below the size of the circuit if its own nodes overshoot. The circuit stays as it was if not even all nodes reach
    the target.
    """
    before = circuit.kept
    ranked = sorted(order.tolist(), key=lambda node: not before[node])  # the circuit's own nodes first
    size = len(circuit.nodes)
    too_small, step, overshot = 0, max(1, size // 4), False
    while not circuit.attempt.stopped and not circuit.reaches_target:
        if not circuit.judgement.overshoots:
            too_small, overshot = size, False
        elif not overshot:
            overshot = True
            if (yield from _bisect(circuit, ranked, too_small, size)):
                return
        if size == len(ranked):
            yield from circuit.change(before)
            return
        size, step = min(len(ranked), size + step), 2 * step
        yield from circuit.change(_prefix(circuit, ranked, size))
        circuit.share_done = size / len(ranked)


def _bisect(circuit: ProbedCircuit, ranked: list[int], too_small: int, too_large: int) -> Increments[bool]:
    """Bisects the prefix length; returns whether a prefix reached the target.

    The first `too_small` nodes of `ranked` have a faithfulness of at most 1, the first `too_large` overshoot.
    """
    while too_large - too_small > 1 and not circuit.attempt.stopped:
        middle = (too_small + too_large) // 2
        yield from circuit.change(_prefix(circuit, ranked, middle))
        if circuit.reaches_target:
            return True
        too_small, too_large = (middle, too_large) if not circuit.judgement.overshoots else (too_small, middle)
    return False


def _prefix(circuit: ProbedCircuit, ranked: list[int], size: int) -> Tensor:
    """The first `size` nodes of `ranked`, `[node]` bool."""
    kept = torch.zeros_like(circuit.kept)
    kept[ranked[:size]] = True
    return kept


def make_best_minimal(circuit: ProbedCircuit) -> Increments[None]:
    """Makes the best circuit of the whole search minimal.

    It need not be the circuit that was last made minimal: a smaller one can reach the target though all sizes in
    between miss it.
    """
    attempt = circuit.attempt
    while (best := attempt.offered.best) is not None and attempt.score_reaches(best.score) and not attempt.stopped:
        if circuit.minimal is not None and torch.equal(best.kept, circuit.minimal):
            return
        yield from circuit.change(best.kept)
        yield from make_minimal(circuit)
