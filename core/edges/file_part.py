"""Edges in a circuit file: written from what was computed, and computed anew for a check."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from circuit_tui.core.circuits.edges_schema import (
    EdgeCircuitPart,
    EdgeEndPart,
    EdgePointPart,
    EdgesPart,
    EdgeValuePart,
    HeadPart,
)
from circuit_tui.core.circuits.field_check import FieldCheck, check_close, check_equal
from circuit_tui.core.edges.edge_table import CircuitEdges
from circuit_tui.core.edges.eliminate import EdgeSearch, eliminate_edges
from circuit_tui.core.edges.view import EdgeView, EndView
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.splice.problem import Problem

SMALL = 0.01
"""Heads with less than this share of an edge's largest part are summed, not listed."""


@incremental
def edges_part(edges: CircuitEdges, search: EdgeSearch | None = None) -> Increments[EdgesPart]:
    """Returns the part of a circuit file for `edges`, computed on the test prompts, and for what `search` left."""
    view = yield from edges.compute_unconnected()
    assert view.unconnected is not None
    assert view.nodes_faithfulness is not None
    number = {(edge.source, edge.target): index for index, edge in enumerate(view.edges)}
    return EdgesPart(
        reference=reference_text(edges.evaluator.problem),
        split="test",
        n_prompts=view.n_prompts,
        method="exact",
        ends=end_parts(edges),
        values=tuple(map(_value_part, view.edges)),
        faithfulness=view.nodes_faithfulness,
        empty=view.unconnected,
        circuit=None if search is None else _circuit_part(search, number),
    )


@incremental
def find_edges(experiment: Experiment, nodes: Tensor, target: float) -> Increments[EdgesPart]:
    """Returns the edges of the circuit `nodes` `[node]` bool, and which of them hold `target` on the search prompts.

    Raises:
        UserError: this circuit has no edges that can be computed (`open_passes`).
    """
    edges = CircuitEdges(experiment.test, nodes)
    yield from edges.compute()
    search = yield from eliminate_edges(experiment.train, experiment.test, nodes, target)
    return (yield from edges_part(edges, search))


def reference_text(problem: Problem) -> str:
    """Says what a source at its reference is."""
    errors = "; error: none" if problem.errors == "keep" else ""
    return f"latent: {problem.ablation}; token: mean embedding of corrupt train prompts{errors}"


def edge_circuit_in(part: EdgesPart, edges: CircuitEdges) -> Tensor | None:
    """Returns the edge circuit of `part`, `[source, target]` bool, in `edges`; None if it has none.

    Raises:
        UserError: the circuit of `edges` has other ends than `part`.
    """
    if part.ends != end_parts(edges):
        raise UserError("edges: the file's are those of other nodes or positions; circuit-tui edges computes them anew")
    if part.circuit is None:
        return None
    left = (part.values[index] for index in part.circuit.kept)
    return edges.space.edge_set((value.source, value.target) for value in left)


def end_parts(edges: CircuitEdges) -> tuple[EdgeEndPart, ...]:
    """Returns the ends of `edges` as a circuit file has them."""
    return tuple(_end_part(edges.evaluator.problem, end) for end in edges.view.ends)


@incremental
def recheck_edges(
    part: EdgesPart, test: Evaluator, train: Evaluator, nodes: Tensor, tolerance: float
) -> Increments[tuple[FieldCheck, ...]]:
    """Returns a check of every number of `part` against the same computed anew on the circuit `nodes` `[node]` bool."""
    edges = CircuitEdges(test, nodes)
    yield from edges.compute()
    ends = end_parts(edges)
    checks = [
        check_equal("edges.reference", part.reference, reference_text(test.problem)),
        check_equal("edges.n_prompts", part.n_prompts, edges.view.n_prompts),
        FieldCheck("edges.ends", len(part.ends), len(ends), part.ends == ends),
    ]
    if part.ends != ends:
        return tuple(checks)
    chosen = [(value.source, value.target) for value in part.values if value.metric is not None]
    view = yield from edges.compute_metric(chosen)
    fresh = {(edge.source, edge.target): _value_part(edge) for edge in view.edges}
    checks.append(check_equal("edges.values", len(part.values), len(fresh)))
    for index, claimed in enumerate(part.values):
        checks += _value_checks(
            f"edges.values.nodes[{index}]", claimed, fresh.get((claimed.source, claimed.target)), tolerance
        )
    whole = yield from edges.compute_unconnected()
    checks += check_close("edges.faithfulness", part.faithfulness, whole.nodes_faithfulness, tolerance)
    checks += check_close("edges.empty", part.empty, whole.unconnected, tolerance)
    kept = edge_circuit_in(part, edges)
    if kept is not None and part.circuit is not None:
        searched = CircuitEdges(train, nodes)
        for name, each, claimed_value in (("test", edges, part.circuit.test), ("train", searched, part.circuit.train)):
            now = (yield from each.set_edges(kept)).faithfulness
            checks += check_close(f"edges.circuit.{name}", claimed_value, now, tolerance)
    return tuple(checks)


def _value_checks(
    path: str, claimed: EdgeValuePart, fresh: EdgeValuePart | None, tolerance: float
) -> Iterator[FieldCheck]:
    if fresh is None:
        yield FieldCheck(path, f"{claimed.source} to {claimed.target}", None, False)
        return
    for name in EdgeValuePart.model_fields:
        if name in ("source", "target", "heads", "other_heads"):
            continue
        yield from check_close(f"{path}.{name}", getattr(claimed, name), getattr(fresh, name), tolerance)
    now = {(head.block, head.head): head.value for head in fresh.heads}
    for head in claimed.heads:
        yield from check_close(
            f"{path}.heads[{head.block}.{head.head}]", head.value, now.get((head.block, head.head), 0.0), tolerance
        )
    total = claimed.past_heads + claimed.other_heads + sum(head.value for head in claimed.heads)
    yield from check_close(f"{path}.parts", claimed.frozen, total, tolerance)


def _end_part(problem: Problem, end: EndView) -> EdgeEndPart:
    hook = problem.sites[end.site].hook if end.kind in ("latent", "error") else None
    return EdgeEndPart(kind=end.kind, hook=hook, position=end.position or None, latent=end.latent)


def _value_part(edge: EdgeView) -> EdgeValuePart:
    largest = max([abs(edge.aligned_past_heads), *(abs(head.aligned) for head in edge.heads)])
    listed = tuple(head for head in edge.heads if abs(head.aligned) >= SMALL * largest)
    return EdgeValuePart(
        source=edge.source,
        target=edge.target,
        direct=edge.edge.mean,
        spread=edge.edge.spread,
        total=edge.total.mean,
        activation=edge.activation.mean,
        flips=edge.flips,
        frozen=edge.frozen.mean,
        past_heads=edge.past_heads,
        heads=tuple(HeadPart(**head._asdict()) for head in listed),
        other_heads=sum(head.value for head in edge.heads) - sum(head.value for head in listed),
        size=edge.size,
        aligned_past_heads=edge.aligned_past_heads,
        attribution=edge.attribution or 0.0,
        metric=None if edge.metric is None else edge.metric.mean,
    )


def _circuit_part(search: EdgeSearch, number: dict[tuple[int, int], int]) -> EdgeCircuitPart:
    return EdgeCircuitPart(
        kept=tuple(sorted(number[source, target] for source, target in search.kept.nonzero().tolist())),
        target=search.target,
        reached=search.reached,
        train=search.train,
        test=search.test,
        frontier=tuple(EdgePointPart(size=each.size, train=each.train, test=each.test) for each in search.frontier),
    )
