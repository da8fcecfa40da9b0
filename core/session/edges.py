"""The edges of a session's circuit: computed a little at a time, switched at once, kept from the circuit's file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.attribution.edge_score import edge_score
from circuit_tui.core.attribution.parts import Head
from circuit_tui.core.attribution.score_parts import EdgeScore
from circuit_tui.core.circuits.edges_schema import EdgesPart
from circuit_tui.core.edges.edge_table import CircuitEdges
from circuit_tui.core.edges.view import EdgesView
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.runtime.incremental import Incremental

N_PAIRS = 30
"""How many pairs of a score are listed one by one."""
CHUNK = 16
"""How many effects on the metric are computed before the next is chosen: what the user looks at comes first."""


class SessionEdges:
    """The edges of the session's circuit.

    Args:
        evaluator: of the test prompts.
        labels: of every candidate node.
        kept: returns the session's circuit, `[node]` bool.
    """

    def __init__(self, evaluator: Evaluator, labels: Sequence[str], kept: Callable[[], Tensor]) -> None:
        self._evaluator, self._labels, self._kept = evaluator, labels, kept
        self._edges: CircuitEdges | None = None
        self._work: Incremental[Any] | None = None
        self._looked_at = 0
        self._from_file: tuple[Tensor, EdgesPart] | None = None

    def begin(self, end: int | None = None) -> EdgesView:
        """Begins the edges of the circuit, or goes on with them; returns what is known so far.

        The effects on the metric of the edges of `end` are computed first.

        Raises:
            UserError: this circuit has no edges that can be computed (`open_passes`).
        """
        if self._current() is None:
            kept = self._kept()
            labels = {int(node): self._labels[int(node)] for node in kept.nonzero()[:, 0]}
            self._edges, self._work = CircuitEdges(self._evaluator, kept.clone(), labels), None
        assert self._edges is not None
        self._looked_at = len(self._edges.view.ends) - 1 if end is None else end
        return self._edges.view

    def switch(self, source: int, target: int) -> EdgesView:
        """Switches an edge off or on; returns the view with the faithfulness of the edges left.

        Raises:
            UserError: the edges are not computed yet, or there is no such edge.
        """
        edges = self._current()
        if edges is None or not edges.view.edges:
            raise UserError("the edges are not computed yet")
        size = len(edges.view.ends)
        if not (0 <= source < size and 0 <= target < size and bool(edges.space.possible[source, target])):
            raise UserError(f"there is no edge from end {source} to end {target}")
        return edges.switch(source, target).result()

    def why(self, source: int, target: int, head: Head | None = None) -> EdgeScore:
        """Returns why a head that carries an edge looks there. Raises UserError as `edge_score`."""
        edges = self._current()
        if edges is None:
            raise UserError("the edges are not computed yet")
        return edge_score(edges, source, target, head, N_PAIRS)

    def view(self) -> EdgesView | None:
        """Returns what is known of the circuit's edges; None if nobody has asked for them."""
        edges = self._current()
        return None if edges is None else edges.view

    def advance(self) -> bool:
        """Computes the next part; returns whether there was one."""
        if self.done():
            return False
        if self._work is None:
            self._work = self._next_work()
        try:
            next(self._work)
        except StopIteration:
            self._work = None
        return True

    def done(self) -> bool:
        """Whether nothing is left to compute."""
        edges = self._current()
        return edges is None or (bool(edges.view.edges) and not self._missing(edges))

    def take_from_file(self, part: EdgesPart | None) -> None:
        """Takes the edges that the circuit's file has."""
        self._from_file = None if part is None else (self._kept().clone(), part)

    def part(self) -> EdgesPart | None:
        """Returns the edges that the circuit's file had; None if it had none, or the circuit has changed since."""
        held = self._from_file
        return held[1] if held is not None and torch.equal(held[0], self._kept()) else None

    def _current(self) -> CircuitEdges | None:
        if self._edges is not None and not torch.equal(self._edges.nodes, self._kept()):
            self._edges = self._work = None
        return self._edges

    def _next_work(self) -> Incremental[Any]:
        edges = self._edges
        assert edges is not None
        return edges.compute_metric(self._missing(edges)[:CHUNK]) if edges.view.edges else edges.compute()

    def _missing(self, edges: CircuitEdges) -> list[tuple[int, int]]:
        """The edges without an effect on the metric: first those of what is looked at, then the strongest."""
        at = self._looked_at
        missing = [edge for edge in edges.view.edges if edge.metric is None]
        missing.sort(key=lambda edge: (at not in (edge.source, edge.target), -edge.strength))
        return [(edge.source, edge.target) for edge in missing]
