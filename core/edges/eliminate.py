"""Elimination of edges to a target: order by attribution, halve the prefix, then drop exactly.

Edges are tried in the order of their attribution, smallest first, in groups that halve where one is needed; a group
stays dropped if the circuit of the edges left still reaches the target. Trials run on a probe of the search prompts;
the result is measured on all of them, and what was dropped last comes back until they reach the target too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.edges.edge_circuit import EdgeCircuit
from circuit_tui.core.edges.effects import all_effects
from circuit_tui.core.edges.ends import EdgeSpace
from circuit_tui.core.edges.open_edges import open_passes
from circuit_tui.core.evaluation.cluster_sample import ClusterSample, clusters
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.search.frontier import score

PROBE = 128
"""How many search prompts a trial runs on."""
MAX_FAILURES = 12
POINTS_BELOW = 6
"""How many points the frontier has below the target."""


@dataclass(frozen=True, slots=True)
class EdgePoint:
    """One edge circuit: its number of edges, and its faithfulness on the search and on the held-out prompts."""

    size: int
    train: float
    test: float


@dataclass(frozen=True, slots=True)
class EdgeSearch:
    """The result of an elimination.

    Attributes:
        kept: `[source, target]` bool, the edges left.
        n_possible: how many edges there can be.
        target: what was to be held.
        reached: whether it is, on the search prompts; false if the circuit of the nodes itself misses it.
        train, test: the faithfulness of the edges left.
        nodes_train, nodes_test: that of all edges, which is that of the circuit of the nodes.
        unconnected_test: held out, with edges to the logit difference alone: no node sees another.
        frontier: edge circuits measured on both splits, ascending in size; the one returned is among them.
    """

    kept: Tensor
    n_possible: int
    target: float
    reached: bool
    train: float
    test: float
    nodes_train: float
    nodes_test: float
    unconnected_test: float
    frontier: tuple[EdgePoint, ...]


@incremental
def eliminate_edges(train: Evaluator, test: Evaluator, nodes: Tensor, target: float) -> Increments[EdgeSearch]:
    """Returns the edges that the circuit `nodes` `[node]` bool needs for `target`; yields after each part of a trial.

    Raises:
        UserError: this circuit has no edges that can be computed (`open_passes`).
    """
    space, whole = open_passes(train.problem, nodes, train.split, train.prompts)
    every = EdgeCircuit(whole, train.baselines)
    nodes_train = every.faithfulness
    chosen = _probe(train)
    probed = whole if chosen is None else open_passes(train.problem, nodes, train.split, chosen)[1]
    circuit = EdgeCircuit(probed, train.baselines)
    yield
    effects = yield from all_effects(probed)
    strength = torch.zeros(space.possible.shape)
    strength[effects.edges[:, 0], effects.edges[:, 1]] = effects.first_order.nanmean(1).abs().nan_to_num(0.0)
    trial = _Trials(circuit, strength, target, circuit.faithfulness - nodes_train)
    if score(nodes_train) >= target:
        yield from trial.halve_prefix()
        yield from trial.drop()
        yield from trial.restore_for(every)
    else:
        trial.passed = [space.possible]
    held = EdgeCircuit(open_passes(test.problem, nodes, test.split, test.prompts)[1], test.baselines)
    nodes_test = held.faithfulness
    best, points = trial.passed[-1], list[EdgePoint]()
    found: tuple[float, float] | None = None
    for kept in _spread(space, trial.passed, best, strength):
        on_train, on_test = (yield from every.change_to(kept)), (yield from held.change_to(kept))
        points.append(EdgePoint(int(kept.sum()), on_train, on_test))
        if kept is best:
            found = on_train, on_test
    assert found is not None
    unconnected = yield from held.change_to(space.to_logits)
    return EdgeSearch(
        best, space.n_edges, target, score(found[0]) >= target, *found, nodes_train, nodes_test, unconnected,
        tuple(sorted(points, key=lambda point: point.size)),
    )  # fmt: skip


def _probe(train: Evaluator) -> Tensor | None:
    """Returns the prompts of the probe, whole clusters of twins; None for all prompts, where there are few."""
    if len(train) <= PROBE:
        return None
    pairs = train.problem.prompt_sets[train.split].pairs
    cluster = clusters([pairs[prompt] for prompt in train.prompts.tolist()])
    return train.prompts[ClusterSample(cluster, PROBE).where.to(train.prompts.device)]


class _Trials:
    """Edges are dropped as long as the target is reached.

    Attributes:
        passed: the edge sets that reached the target on the probe, each a part of the one before.

    Args:
        circuit: the edge circuit on the probe.
        strength: `[source, target]` by which edges are ordered.
        target: what is to be held.
        offset: by how much the probe's faithfulness is above that of all search prompts.
    """

    def __init__(self, circuit: EdgeCircuit, strength: Tensor, target: float, offset: float) -> None:
        self._circuit, self._strength, self._target, self._offset = circuit, strength, target, offset
        self.passed = [circuit.kept]

    def halve_prefix(self) -> Increments[None]:
        """Halves the edges, strongest first, until that is too few; then bisects."""
        order = self._order()[::-1]
        enough, too_few = len(order), 0
        size = enough // 2
        while size > too_few:
            if (yield from self._try(self._circuit.space.edge_set(order[:size]))):
                enough = size
            else:
                too_few = size
            size = enough // 2 if too_few == 0 else (enough + too_few) // 2
            if too_few and enough - too_few <= max(1, enough // 10):
                break

    def drop(self) -> Increments[None]:
        """Drops groups, weakest first, and halves a group that is needed; once more as long as that drops some.

        A pass ends when `MAX_FAILURES` single edges in a row are needed: those behind them are stronger.
        """
        while True:
            before, queue, failures = self._circuit.size, self._order(), 0
            size = max(1, len(queue) // 8)
            while queue and failures < MAX_FAILURES:
                size = min(size, len(queue))
                group = queue[:size]
                kept = self._circuit.kept.clone()
                for source, target in group:
                    kept[source, target] = False
                if (yield from self._try(kept)):
                    queue, size, failures = queue[size:], min(2 * size, max(1, len(queue) // 8)), 0
                elif size > 1:
                    size //= 2
                else:
                    queue, failures = queue[1:], failures + 1
            if self._circuit.size > before * 0.95:
                return

    def restore_for(self, every: EdgeCircuit) -> Increments[None]:
        """Goes back through the edge sets that reached the target, until all search prompts reach it too."""
        while len(self.passed) > 1:
            if score((yield from every.change_to(self.passed[-1]))) >= self._target:
                return
            self.passed.pop()

    def _order(self) -> list[tuple[int, int]]:
        edges = [(int(source), int(target)) for source, target in self._circuit.kept.nonzero()]
        return sorted(edges, key=lambda edge: float(self._strength[edge]))

    def _try(self, kept: Tensor) -> Increments[bool]:
        """Takes over the edges `kept` if they reach the target."""
        states, faithfulness = yield from self._circuit.measure(kept)
        if score(faithfulness - self._offset) < self._target:
            return False
        self._circuit.adopt(states, faithfulness)
        self.passed.append(kept)
        return True


def _spread(space: EdgeSpace, passed: list[Tensor], best: Tensor, strength: Tensor) -> list[Tensor]:
    """The edge sets of the frontier: each at most 0.7 times as large as the one before, `best`, and some below it."""
    chosen = [passed[0]]
    for kept in passed[1:]:
        if int(best.sum()) < int(kept.sum()) <= 0.7 * int(chosen[-1].sum()):
            chosen.append(kept)
    if best is not chosen[-1]:
        chosen.append(best)
    order = sorted(best.nonzero().tolist(), key=lambda edge: -float(strength[edge[0], edge[1]]))
    size = len(order)
    for _ in range(POINTS_BELOW):
        size = int(size * 0.75)
        if size < 1:
            break
        chosen.append(space.edge_set(order[:size]))
    return chosen
