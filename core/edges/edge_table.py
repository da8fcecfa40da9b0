"""From a circuit to the view of its edges: the one function that screen, command line and library call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.edges.edge_circuit import EdgeCircuit
from circuit_tui.core.edges.effects import Effects, all_effects, metric_effects
from circuit_tui.core.edges.ends import End
from circuit_tui.core.edges.open_edges import open_passes
from circuit_tui.core.edges.view import EdgesView, EdgeView, EndView, HeadShare, MeanSpread
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.splice.problem import Problem


class CircuitEdges:
    """The edges of one circuit on the prompts of an evaluator; everything is computed when it is first asked for.

    Args:
        evaluator: of the held-out prompts, as a rule.
        nodes: the circuit, `[node]` bool.
        labels: of nodes, by their numbers.
        answered: whether the prompts have answers; without them there are no edges to the logit difference.

    Attributes:
        passes: the circuit's passes on the prompts.
        view: what has been computed so far.
        circuit: the edge circuit; all edges until `set_edges`.

    Raises:
        UserError: this circuit has no edges that can be computed (`open_passes`).
    """

    def __init__(
        self, evaluator: Evaluator, nodes: Tensor, labels: Mapping[int, str] | None = None, *, answered: bool = True
    ) -> None:
        self.evaluator, self.nodes, self._answered = evaluator, nodes, answered
        problem = evaluator.problem
        self.space, self.passes = open_passes(problem, nodes, evaluator.split, evaluator.prompts)
        self.circuit = EdgeCircuit(self.passes, evaluator.baselines)
        ends = tuple(end_view(problem, end, labels or {}) for end in self.space.ends)
        self.view = EdgesView(
            ends, (), evaluator.split, len(evaluator), self.circuit.faithfulness if answered else None
        )

    @property
    def gap(self) -> float:
        """The logit difference that faithfulness 1 is."""
        return self.circuit.gap

    @incremental
    def compute(self) -> Increments[EdgesView]:
        """Computes all edges but their effects on the metric; returns the view."""
        effects = yield from all_effects(self.passes)
        totals = effects.node_total.double().mean(1) / self.gap
        ends = tuple(
            end if end.kind == "logits" or not self._answered else replace(end, total_effect=float(totals[number]))
            for number, end in enumerate(self.view.ends)
        )
        edges = _edge_views(effects, self.gap) if self._answered else _without_answers(effects)
        self.view = replace(self.view, ends=ends, edges=edges)
        return self.view

    @incremental
    def compute_metric(self, chosen: Sequence[tuple[int, int]]) -> Increments[EdgesView]:
        """Computes the effects on the metric of the edges `chosen`, (source, target) ends; returns the view."""
        missing = {(edge.source, edge.target) for edge in self.view.edges if edge.metric is None}
        due = [edge for edge in dict.fromkeys(chosen) if edge in missing]
        if due:
            values = yield from metric_effects(self.passes, torch.tensor(due))
            by_edge = {edge: _mean_spread(value / self.gap) for edge, value in zip(due, values, strict=True)}
            self.view = replace(
                self.view,
                edges=tuple(
                    replace(edge, metric=by_edge[edge.source, edge.target])
                    if (edge.source, edge.target) in by_edge
                    else edge
                    for edge in self.view.edges
                ),
            )
        return self.view

    @incremental
    def set_edges(self, kept: Tensor) -> Increments[EdgesView]:
        """Changes the edge circuit to `kept` `[source, target]` bool; returns the view with its faithfulness."""
        faithfulness = yield from self.circuit.change_to(kept)
        self.view = replace(
            self.view,
            faithfulness=faithfulness,
            edges=tuple(replace(edge, kept=bool(kept[edge.source, edge.target])) for edge in self.view.edges),
        )
        return self.view

    @incremental
    def switch(self, source: int, target: int) -> Increments[EdgesView]:
        """Switches one edge off or on; returns the view with the faithfulness of the edges left."""
        kept = self.circuit.kept.clone()
        kept[source, target] = ~kept[source, target]
        return (yield from self.set_edges(kept))

    @incremental
    def compute_unconnected(self) -> Increments[EdgesView]:
        """Computes the faithfulness with edges to the logit difference alone; returns the view."""
        _, faithfulness = yield from self.circuit.measure(self.space.to_logits)
        self.view = replace(self.view, unconnected=faithfulness)
        return self.view


def labels_of(file: CircuitFile, problem: Problem) -> dict[int, str]:
    """Returns the labels that `file` has, by node number."""
    space, names = problem.space, problem.alignment.names
    labels = {
        (site.hook, node.position, node.latent): node.label for site in file.sites for node in site.nodes if node.label
    }
    found = {}
    for node, (site, position, latent) in enumerate(space.coordinates()):
        label = labels.get((problem.sites[site].hook, names[position], latent))
        if label is not None:
            found[node] = label
    return found


def end_view(problem: Problem, end: End, labels: Mapping[int, str]) -> EndView:
    """Returns an end with its name."""
    position = "" if end.position < 0 else problem.alignment.names[end.position]
    site = problem.sites[end.site].short if 0 <= end.site < len(problem.sites) else ""
    name = {
        "token": f"token@{position}",
        "latent": f"{site} {end.latent}@{position}",
        "error": f"{site} error@{position}",
        "logits": "logit difference",
    }[end.kind]
    latent = end.kind == "latent"
    return EndView(
        end.kind, name, end.site, position, end.latent if latent else None, end.node if latent else None,
        labels.get(end.node, "") if latent else "",
    )  # fmt: skip


def _edge_views(effects: Effects, gap: float) -> tuple[EdgeView, ...]:
    """All edges. Those to the logit difference have their effect on the metric already: it is the edge itself."""
    logits = int(effects.edges[:, 1].max())
    tables = [
        [_mean_spread(row) for row in table]
        for table in (effects.edge, effects.total, effects.activation, effects.frozen)
    ]
    found = []
    for number, (source, target) in enumerate(effects.edges.tolist()):
        edge, total, activation, frozen = (table[number] for table in tables)
        blocks, heads = (effects.heads[number].abs() + effects.aligned_heads[number].abs()).nonzero(as_tuple=True)
        shares = [
            HeadShare(
                block,
                head,
                float(effects.heads[number, block, head]),
                float(effects.aligned_heads[number, block, head]),
            )
            for block, head in zip(blocks.tolist(), heads.tolist(), strict=True)
        ]
        found.append(
            EdgeView(
                source,
                target,
                edge,
                total,
                activation,
                float(effects.flips[number]),
                frozen,
                float(effects.past[number]),
                tuple(sorted(shares, key=lambda share: -abs(share.aligned))),
                _mean_spread(effects.edge[number].abs()).mean,
                float(effects.aligned_past[number]),
                _mean_spread(effects.first_order[number] / gap).mean,
                _mean_spread(effects.edge[number] / gap) if target == logits else None,
            )
        )
    return tuple(found)


def _without_answers(effects: Effects) -> tuple[EdgeView, ...]:
    """The edges between nodes, on a prompt without answers."""
    logits = int(effects.edges[:, 1].max())
    edges = (edge for edge in _edge_views(effects, 1.0) if edge.target != logits)
    return tuple(replace(edge, attribution=None) for edge in edges)


def _mean_spread(values: Tensor) -> MeanSpread:
    """The mean and standard deviation of `[prompt]` over the prompts that have a value."""
    present = values[~values.isnan()].double()
    if not len(present):
        return MeanSpread(0.0, 0.0)
    return MeanSpread(float(present.mean()), float(present.std(correction=0)))
