"""Do the circuit's edges bear what is said of them?

Three lines, measured where the circuit's file has edges, or on request. Attribution is what most tools report as
edges; here it is held against exact effects, edge by edge. The edge circuit is measured on prompts that its elimination
did not see. And edges are eliminated again on random halves of the search prompts, whole clusters of twins.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from circuit_tui.core.audit.altered_problem import with_train_prompts
from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measurement, grade, worst_verdict
from circuit_tui.core.audit.limits import ATTRIBUTION_LIMITS, FAITHFULNESS_LIMITS
from circuit_tui.core.audit.measures.held_out import OVERFIT_LIMITS
from circuit_tui.core.audit.measures.stability import OVERLAP_LIMITS
from circuit_tui.core.audit.searches import evaluators
from circuit_tui.core.choices import Verdict
from circuit_tui.core.circuits.compare_circuits import jaccard
from circuit_tui.core.edges.agreement import agreement
from circuit_tui.core.edges.edge_table import CircuitEdges
from circuit_tui.core.edges.eliminate import EdgeSearch, eliminate_edges
from circuit_tui.core.edges.file_part import edge_circuit_in
from circuit_tui.core.edges.view import EdgesView, EdgeView
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.cluster_sample import ClusterSample, clusters
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.search.frontier import score

SAMPLE = 400
"""Of how many edges effects on the metric are measured at most; of more, so many are drawn."""
HELD_SHARE = 0.95
"""Without a target in the file, edges are eliminated until this share of the nodes' score is just held."""


def attribution(audited: AuditedCircuit) -> Measurement:
    """Measures the rank correlation of attributions with exact effects, and the edge on which they differ most."""
    try:
        edges = CircuitEdges(audited.test, audited.kept)
    except UserError as error:
        return _refused("edge-attribution", error)
    view = yield from edges.compute()
    inner = [edge for edge in view.edges if edge.target != len(view.ends) - 1]
    draw = torch.Generator().manual_seed(audited.settings.seed)
    drawn = [inner[index] for index in torch.randperm(len(inner), generator=draw)[:SAMPLE].tolist()]
    view = yield from edges.compute_metric([(edge.source, edge.target) for edge in drawn])
    found = agreement(view)
    if found.metric is None:
        return Finding("edge-attribution", "not measured", "There are too few edges between nodes to rank.")
    worst = max(view.edges, key=_off)
    exact, estimate = _metric(worst), worst.attribution
    verdict = grade(1 - found.metric, *ATTRIBUTION_LIMITS)
    frozen = "" if found.frozen is None else f" (the frozen part with the exact edge by {found.frozen:.2f})"
    return Finding(
        "edge-attribution", verdict,
        f"Over {len(drawn)} edges, attribution and the exact effect on the metric correlate in rank by "
        f"{found.metric:.2f}{frozen}; the worst is {_name(view, worst)}, with {estimate:+.3f} for {exact:+.3f}: "
        f"{_ATTRIBUTION_MEANING[verdict]}.",
        {
            "rank_correlation": found.metric, "frozen_rank_correlation": found.frozen, "edges": len(drawn),
            "worst_attribution": estimate, "worst_exact": exact,
        },
    )  # fmt: skip


def edge_circuit(audited: AuditedCircuit) -> Measurement:
    """Measures the faithfulness of the edge circuit on held-out prompts: the file's, or one eliminated for this."""
    try:
        own = yield from _own_circuit(audited)
        held, searched = (CircuitEdges(each, audited.kept) for each in (audited.test, audited.train))
    except UserError as error:
        return _refused("edge-circuit", error)
    test = (yield from held.set_edges(own)).faithfulness
    train = (yield from searched.set_edges(own)).faithfulness
    unconnected = (yield from held.compute_unconnected()).unconnected
    nodes = held.view.nodes_faithfulness
    assert test is not None
    assert train is not None
    size, possible = int(own.sum()), held.space.n_edges
    verdict = worst_verdict(
        grade(abs(1 - test), *FAITHFULNESS_LIMITS), grade(score(train) - score(test), *OVERFIT_LIMITS)
    )
    return Finding(
        "edge-circuit", verdict,
        f"{size} of {possible} edges hold {test:.3f} on held-out prompts ({train:.3f} on the search prompts), where "
        f"all of them hold {nodes:.3f} and edges to the answer alone {unconnected:.3f}: {_CIRCUIT_MEANING[verdict]}.",
        {
            "faithfulness": test, "train": train, "nodes": nodes, "unconnected": unconnected, "edges": size,
            "possible": possible,
        },
    )  # fmt: skip


def draws(audited: AuditedCircuit) -> Measurement:
    """Eliminates edges on random halves of the search prompts, and compares what is left."""
    count = audited.settings.edge_draws
    if count < 2:
        return Finding("edge-draws", "not measured", "Two eliminations at least are needed, and were not asked for.")
    try:
        own = None if audited.edges is None or audited.edges.circuit is None else (yield from _own_circuit(audited))
        target = yield from _target(audited)
        loss = score((yield from audited.train.faithfulness(audited.kept))) - target
        if loss < 0:
            return Finding("edge-draws", "not measured", "The nodes themselves miss the target of their edges.")
        searches = list[EdgeSearch]()
        for index in range(count):
            searches.append((yield from _on_half(audited, audited.settings.seed + 1 + index, loss)))
            yield (index + 1) / count
    except UserError as error:
        return _refused("edge-draws", error)
    kept = [_numbers(search.kept) for search in searches]
    pairs = [jaccard(one, other) for one, other in combinations(kept, 2)]
    mean, always = sum(pairs) / len(pairs), len(set(kept[0]).intersection(*kept[1:]))
    with_own = None if own is None else sum(jaccard(_numbers(own), each) for each in kept) / count
    verdict: Verdict = "bad" if mean < OVERLAP_LIMITS[1] else "doubtful" if mean < OVERLAP_LIMITS[0] else "good"
    sizes = [len(each) for each in kept]
    beside = "" if with_own is None else f", with the file's by {with_own:.2f}"
    return Finding(
        "edge-draws", verdict,
        f"On {count} random halves of the search prompts {min(sizes)} to {max(sizes)} edges are left, two of them "
        f"overlap by {mean:.2f} (Jaccard, least {min(pairs):.2f}){beside}, and {always} edges are always there: "
        f"{_DRAWS_MEANING[verdict]}.",
        {
            "jaccard_mean": mean, "jaccard_min": min(pairs), "jaccard_with_file": with_own, "size_min": min(sizes),
            "size_max": max(sizes), "always": always, "draws": count,
            "reached": sum(search.reached for search in searches),
        },
    )  # fmt: skip


@incremental
def _own_circuit(audited: AuditedCircuit) -> Increments[Tensor]:
    """Returns the file's edge circuit `[source, target]` bool; without one, what an elimination leaves.

    Raises:
        UserError: this circuit has no edges that can be computed, or the file's edges have other ends.
    """
    if audited.edges is not None and audited.edges.circuit is not None:
        kept = edge_circuit_in(audited.edges, CircuitEdges(audited.test, audited.kept))
        assert kept is not None
        return kept
    target = yield from _target(audited)
    return (yield from eliminate_edges(audited.train, audited.test, audited.kept, target)).kept


@incremental
def _target(audited: AuditedCircuit) -> Increments[float]:
    """Returns the score that edges are to hold on the search prompts: the file's target, or a share of the nodes'."""
    if audited.edges is not None and audited.edges.circuit is not None:
        return audited.edges.circuit.target
    return HELD_SHARE * score((yield from audited.train.faithfulness(audited.kept)))


@incremental
def _on_half(audited: AuditedCircuit, seed: int, loss: float) -> Increments[EdgeSearch]:
    """Eliminates edges on a half of the search prompts; they may lose as much of the nodes' score as the circuit's."""
    pairs = audited.problem.prompt_sets["train"].pairs
    try:
        half = ClusterSample(clusters(pairs), len(pairs) // 2, seed).where
    except ValueError as error:
        raise UserError(f"of {len(pairs)} search prompts no halves can be drawn ({error})") from error
    problem = with_train_prompts(audited.problem, half)
    train, test = yield from evaluators(problem)
    nodes = score((yield from train.faithfulness(audited.kept)))
    return (yield from eliminate_edges(train, test, audited.kept, nodes - loss))


def _refused(key: str, error: UserError) -> Finding:
    return Finding(key, "not measured", f"There is nothing to measure: {error}.")


def _metric(edge: EdgeView) -> float:
    assert edge.metric is not None
    return edge.metric.mean


def _off(edge: EdgeView) -> float:
    """By how much an edge's attribution is off its exact effect; -1 where one of them is missing."""
    return -1.0 if edge.metric is None or edge.attribution is None else abs(edge.attribution - edge.metric.mean)


def _name(view: EdgesView, edge: EdgeView) -> str:
    return f"{view.ends[edge.source].name} to {view.ends[edge.target].name}"


def _numbers(kept: Tensor) -> Sequence[int]:
    return list(map(int, kept.flatten().nonzero()[:, 0]))


_ATTRIBUTION_MEANING = {
    "good": "attribution may stand for the effect here",
    "doubtful": "trust exact effects where the two differ",
    "bad": "attribution does not say here which edges matter",
}
_CIRCUIT_MEANING = {
    "good": "these edges carry the behaviour",
    "doubtful": "these edges carry only part of the behaviour, or lean on the prompts they were found on",
    "bad": "these edges do not carry the behaviour",
}
_DRAWS_MEANING = {
    "good": "they are much the same edges each time",
    "doubtful": "part of them is one choice among several",
    "bad": "they are one of many sets of edges that would do",
}
