"""How far attribution agrees with exact effects: rank correlations over all edges, and the edge that is worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import StatisticsError, correlation

from circuit_tui.core.edges.view import EdgesView, EdgeView


@dataclass(frozen=True, slots=True)
class Agreement:
    """Spearman's rank correlations over edges; None where fewer than three edges, or all alike, have the numbers.

    `frozen` compares the frozen part with the exact edge, both with the sign that makes each prompt's edge positive.
    `metric` compares the attribution with the exact effect on the metric, over the edges that have both and do not lead
    to the logit difference. `worst` is the edge whose rest is the largest share of all that its target is given.
    """

    n_edges: int
    frozen: float | None
    metric: float | None
    worst: EdgeView | None
    worst_share: float


def agreement(view: EdgesView) -> Agreement:
    """Returns the agreement over the edges of `view`."""
    given: dict[int, float] = {}
    for edge in view.edges:
        given[edge.target] = given.get(edge.target, 0.0) + edge.size
    shares = {
        number: abs(edge.aligned_rest) / given[edge.target] for number, edge in enumerate(view.edges) if edge.size > 0
    }
    worst = max(shares, key=lambda number: shares[number], default=None)
    logits = len(view.ends) - 1
    both = [
        (edge.attribution, edge.metric.mean)
        for edge in view.edges
        if edge.attribution is not None and edge.metric is not None and edge.target != logits
    ]
    return Agreement(
        len(view.edges),
        rank_correlation([edge.size for edge in view.edges], [edge.size - edge.aligned_rest for edge in view.edges]),
        rank_correlation([one for one, _ in both], [other for _, other in both]),
        None if worst is None else view.edges[worst],
        0.0 if worst is None else shares[worst],
    )


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None of fewer than three values, or if all are alike."""
    if len(first) < 3:
        return None
    try:
        return correlation(_ranks(first), _ranks(second))
    except StatisticsError:
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=lambda index: values[index])
    ranks, start = [0.0] * len(values), 0
    while start < len(order):
        stop = start
        while stop < len(order) and values[order[stop]] == values[order[start]]:
            stop += 1
        for index in order[start:stop]:
            ranks[index] = (start + stop - 1) / 2
        start = stop
    return ranks
