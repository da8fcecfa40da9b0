"""Exact changes to a hard circuit: grow it, drop nodes in bulk and one by one, continue below the target.

Every circuit that is kept has been evaluated on all search prompts. The gradient of the score with respect to the mask,
at the circuit itself, estimates what dropping a node (m: 1 to 0) or adding one (0 to 1) would do; it only decides what
is tried first, as the probe does.

The stages are incremental computations (`core/runtime/incremental.py`) that yield after each batch of prompts.
"""

from __future__ import annotations

from circuit_tui.core.runtime.incremental import Increments
from circuit_tui.core.search.probed_circuit import ProbedCircuit

GROW_ROUNDS = 30
GROW_PATIENCE = 5
"""Rounds without a better score after which growing ends."""
PROBE_ROUNDS = 2
MAX_FAILURES = 3
MOST_TRIED = 400
"""Of a larger circuit only so many nodes are tried alone, those that seem likeliest to go: each takes an evaluation."""
FRONTIER_SHARE = 5
"""Below the target one in so many nodes is dropped at a time."""


def grow(circuit: ProbedCircuit) -> Increments[None]:
    """Adds the nodes with the best gradients until the target is reached or no addition helps."""
    best, since = circuit.score, 0
    for round_ in range(GROW_ROUNDS):
        if circuit.attempt.stopped or circuit.reaches_target or since >= GROW_PATIENCE:
            return
        gain = circuit.mask_gradient()
        gain[circuit.kept] = -float("inf")
        count = min(max(1, len(circuit.nodes) // 20), int((gain > 0).sum()))
        if count == 0:
            return
        yield from circuit.change(circuit.with_nodes(gain.topk(count)[1].tolist(), True))
        since = 0 if circuit.score > best else since + 1
        best = max(best, circuit.score)
        circuit.share_done = round_ / GROW_ROUNDS


def drop_in_bulk(circuit: ProbedCircuit) -> Increments[None]:
    """Drops as many nodes at once as the target allows, smallest gradients first, until a single one is too many."""
    count, start = len(circuit.nodes) // 4, len(circuit.nodes)
    while count >= 1 and circuit.reaches_target:
        order, counts = circuit.sorted_by_gradient(circuit.mask_gradient_of_kept()), _halved(count)
        circuit.share_done = 1 - count / start
        dropped = yield from circuit.drop_first_possible([order[:count] for count in counts])
        if dropped is None:
            return
        count = min(counts[dropped], len(circuit.nodes) // 4)


def drop_by_probe(circuit: ProbedCircuit) -> Increments[None]:
    """Drops single nodes in the order of their probe losses, for up to `PROBE_ROUNDS` rounds.

    Of more than `MOST_TRIED` nodes those with the smallest gradients are measured. The second round measures again the
    half of the nodes with the smallest losses in the first.
    """
    nodes = _likeliest(circuit, circuit.nodes)
    for _ in range(PROBE_ROUNDS):
        if not circuit.reaches_target:
            return
        for done, _ in enumerate(circuit.measure_probe_losses(nodes)):
            circuit.share_done = done / len(nodes)
            yield
        dropped = yield from _drop_by_summed_loss(circuit, circuit.sorted_by_probe_loss(nodes))
        if dropped <= len(circuit.nodes) // 20:
            return
        nodes = _likeliest(circuit, circuit.sorted_by_probe_loss(circuit.nodes)[: len(circuit.nodes) // 2])


def _drop_by_summed_loss(circuit: ProbedCircuit, order: list[int]) -> Increments[int]:
    """Drops nodes from the front of `order` while the sum of their probe losses leaves the target in reach.

    Tries half as many where the sum was wrong. A node that alone is too many stays; `MAX_FAILURES` of those in a row
    end the stage, since the losses are then out of date. Returns how many nodes were dropped.
    """
    attempt, before, failures = circuit.attempt, len(circuit.nodes), 0
    while order and failures < MAX_FAILURES and not attempt.stopped:
        count, left = 0, circuit.score
        for node in order:
            left -= circuit.probe_losses[node]
            if not attempt.score_reaches(left):
                break
            count += 1
        if count == 0:
            break
        counts = _halved(count)
        dropped = yield from circuit.drop_first_possible([order[:count] for count in counts])
        count = 0 if dropped is None else counts[dropped]
        failures = 0 if count else failures + 1
        order = order[max(1, count) :]
    return before - len(circuit.nodes)


def make_minimal(circuit: ProbedCircuit) -> Increments[None]:
    """Drops single nodes until none can go without missing the target: each is tried after the last drop.

    Of more than `MOST_TRIED` nodes only the likeliest are tried; `ProbedCircuit.untried` counts the others.
    """
    if not circuit.reaches_target:
        return
    likeliest = _likeliest(circuit, circuit.nodes)
    circuit.untried = len(circuit.nodes) - len(likeliest)
    yield from circuit.measure_probe_losses([node for node in likeliest if node not in circuit.probe_losses])
    # The likeliest to go come first: every drop makes all nodes tried before it due again.
    queue = circuit.sorted_by_probe_loss(likeliest)
    while (dropped := (yield from circuit.drop_first_possible([[node] for node in queue], is_stage=True))) is not None:
        queue = queue[dropped + 1 :] + queue[:dropped]
    if not circuit.attempt.stopped:
        circuit.minimal = circuit.kept


def _halved(count: int) -> list[int]:
    """Returns `count`, half of it, and so on down to 1."""
    return [count >> times for times in range(count.bit_length())]


def _likeliest(circuit: ProbedCircuit, nodes: list[int]) -> list[int]:
    """At most `MOST_TRIED` of the circuit's `nodes`: those with the smallest gradients."""
    if len(nodes) <= MOST_TRIED:
        return nodes
    wanted = set(nodes)
    order = circuit.sorted_by_gradient(circuit.mask_gradient_of_kept())
    return [node for node in order if node in wanted][:MOST_TRIED]


def extend_below_target(circuit: ProbedCircuit) -> Increments[None]:
    """Continues the frontier below the target: drops a few nodes at a time, down to one node.

    Measures the probe losses of half as many nodes more than it drops, those with the smallest gradients, and drops the
    ones with the smallest losses. Where that would be more than `MOST_TRIED` nodes the gradients alone decide.
    """
    start = max(1, len(circuit.nodes))
    while len(circuit.nodes) > 1:
        gradient = circuit.mask_gradient_of_kept()
        circuit.share_done = 1 - len(circuit.nodes) / start
        yield
        count = max(1, len(circuit.nodes) // FRONTIER_SHARE)
        order = circuit.sorted_by_gradient(gradient)[: max(4, count * 3 // 2)]
        if len(order) <= MOST_TRIED:
            yield from circuit.measure_probe_losses(order)
            order = circuit.sorted_by_probe_loss(order)
        if circuit.attempt.stopped:
            return
        yield from circuit.change(circuit.with_nodes(order[:count], False))
