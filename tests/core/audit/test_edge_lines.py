"""The audit's lines on edges: against hooks on the plain model, and against eliminations made one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from edge_oracle import AnyEnd, EdgeOracle
from naive import Node
from tiny.audits import Oracle, audited_circuit, finding_of, nodes_kept
from tiny.models_with_saes import TinyModel
from tiny.problems import open_naive, random_circuit

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.lines import EDGE_LINES, LINES, lines_of
from circuit_tui.core.audit.measures import edges
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.circuits.edges_schema import EdgesPart
from circuit_tui.core.edges.edge_table import CircuitEdges
from circuit_tui.core.edges.eliminate import eliminate_edges
from circuit_tui.core.edges.file_part import edges_part
from circuit_tui.core.splice.problem import Problem


@pytest.fixture(scope="module")
def audited(problem: Problem) -> AuditedCircuit:
    return audited_circuit(problem, random_circuit(problem, 0.05, 0), edges=True, edge_draws=2)


@pytest.fixture(scope="module")
def part(audited: AuditedCircuit) -> EdgesPart:
    """The edges of the circuit, with an edge circuit for a target that the nodes hold."""
    made = CircuitEdges(audited.test, audited.kept)
    made.compute().result()
    target = 0.8 * audited.train.faithfulness(audited.kept).result()
    search = eliminate_edges(audited.train, audited.test, audited.kept, target).result()
    assert search.reached
    return edges_part(made, search).result()


def test_the_lines_stand_only_where_edges_are_asked_for() -> None:
    assert lines_of(AuditSettings()) == LINES
    assert lines_of(AuditSettings(edges=True)) == LINES + EDGE_LINES


def test_attribution_is_ranked_against_exact_effects(
    audited: AuditedCircuit, tiny_model: Callable[[str], TinyModel], problem: Problem
) -> None:
    finding = finding_of(edges.attribution(audited))
    made = CircuitEdges(audited.test, audited.kept)
    view = made.compute().result()
    inner = [edge for edge in view.edges if view.ends[edge.target].kind != "logits"]
    view = made.compute_metric([(edge.source, edge.target) for edge in inner]).result()
    both = [
        (edge.attribution, edge.metric.mean)
        for edge in view.edges
        if edge.metric is not None and view.ends[edge.target].kind != "logits"
    ]
    attribution, exact = torch.tensor(both).double().t()
    ranks = [each.argsort().argsort().double() for each in (attribution, exact)]
    if len(set(exact.tolist())) == len(exact):  # without ties
        expected = float(torch.corrcoef(torch.stack(ranks))[0, 1])
        assert finding.numbers["rank_correlation"] == pytest.approx(expected, abs=1e-6)
    assert finding.numbers["edges"] == len(inner)
    # The worst edge, by hooks on the plain model.
    names = problem.alignment.names
    nodes: set[Node] = {(end.site, names[end.position], end.latent) for end in made.space.ends if end.kind == "latent"}
    oracle = EdgeOracle(open_naive(tiny_model("gpt2"), problem), nodes)
    worst = max(view.edges, key=lambda edge: abs((edge.attribution or 0) - (edge.metric.mean if edge.metric else 0)))
    source, target = (_named(made, end) for end in (worst.source, worst.target))
    lost = [oracle.metric(prompt, source, target) for prompt in range(len(audited.test))]
    assert finding.numbers["worst_exact"] == pytest.approx(sum(lost) / len(lost) / made.gap, abs=1e-4)
    assert f"{view.ends[worst.source].name} to {view.ends[worst.target].name}" in finding.says


def test_a_sample_of_many_edges_is_drawn(audited: AuditedCircuit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges, "SAMPLE", 5)
    assert finding_of(edges.attribution(audited)).numbers["edges"] == 5


def test_the_edge_circuit_of_the_file_is_measured_held_out(
    audited: AuditedCircuit, part: EdgesPart, tiny_model: Callable[[str], TinyModel], problem: Problem, oracle: Oracle
) -> None:
    finding = finding_of(edges.edge_circuit(replace(audited, edges=part)))
    assert part.circuit is not None
    assert finding.numbers["edges"] == len(part.circuit.kept)
    assert finding.numbers["train"] == pytest.approx(part.circuit.train, abs=1e-6)
    made = CircuitEdges(audited.test, audited.kept)
    ends = [_named(made, number) for number in range(len(made.space))]
    latents = [end for end in ends if end[0] == "latent"]
    nodes: set[Node] = {(end[1], end[2], end[3]) for end in latents}
    plain_hooks = EdgeOracle(open_naive(tiny_model("gpt2"), problem), nodes)
    left = {(ends[part.values[index].source], ends[part.values[index].target]) for index in part.circuit.kept}
    count = len(audited.test)
    held = sum(plain_hooks.edge_circuit(prompt, left, latents) for prompt in range(count)) / count
    m, empty = float(oracle.plain("test").mean()), float(oracle.circuit("test", set()).mean())
    assert finding.numbers["faithfulness"] == pytest.approx((held - empty) / (m - empty), abs=1e-4)


def test_without_edges_in_the_file_they_are_eliminated(audited: AuditedCircuit) -> None:
    finding = finding_of(edges.edge_circuit(audited))
    nodes = audited.train.faithfulness(audited.kept).result()
    expected = eliminate_edges(audited.train, audited.test, audited.kept, 0.95 * nodes).result()
    assert finding.numbers["edges"] == int(expected.kept.sum())


def test_draws_are_halves_of_the_search_prompts(audited: AuditedCircuit, part: EdgesPart) -> None:
    finding = finding_of(edges.draws(replace(audited, edges=part)))
    assert finding.numbers["draws"] == 2
    assert 0 <= finding.numbers["jaccard_min"] <= finding.numbers["jaccard_mean"] <= 1  # type: ignore[operator]
    assert finding.numbers["always"] <= finding.numbers["size_min"] <= finding.numbers["size_max"]  # type: ignore[operator]
    assert finding.numbers["jaccard_with_file"] is not None
    assert finding_of(edges.draws(audited)).numbers["jaccard_with_file"] is None


def test_two_draws_see_different_prompts(audited: AuditedCircuit, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[tuple[str, ...], float]] = []

    def spy(train, test, kept, target):  # type: ignore[no-untyped-def]
        seen.append((tuple(pair.clean for pair in train.problem.prompt_sets["train"].pairs), target))
        return eliminate_edges(train, test, kept, target)

    monkeypatch.setattr(edges, "eliminate_edges", spy)
    finding_of(edges.draws(audited))
    every = [pair.clean for pair in audited.problem.prompt_sets["train"].pairs]
    (first, _), (second, _) = seen
    assert first != second
    assert all(set(each) < set(every) and len(each) <= len(every) / 2 for each in (first, second))


@pytest.mark.parametrize("measure", [line.measure for line in EDGE_LINES], ids=[line.key for line in EDGE_LINES])
def test_what_has_no_edges_is_not_measured(
    audited: AuditedCircuit, measure: Callable[[AuditedCircuit], edges.Measurement], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audited.problem.model, "padding_side", "left")
    finding = finding_of(measure(audited))
    assert finding.verdict == "not measured"
    assert "--padding left" in finding.says


def test_edges_of_another_circuit_are_not_measured(audited: AuditedCircuit, part: EdgesPart, problem: Problem) -> None:
    other = replace(audited, kept=nodes_kept(problem, 0, 1), edges=part)
    finding = finding_of(edges.edge_circuit(other))
    assert finding.verdict == "not measured"
    assert "those of other nodes" in finding.says


def _named(made: CircuitEdges, number: int) -> AnyEnd:
    end, names = made.space.ends[number], made.evaluator.problem.alignment.names
    if end.kind == "logits":
        return ("logits",)
    if end.kind == "token":
        return ("token", names[end.position])
    return (end.kind, end.site, names[end.position], *((end.latent,) if end.kind == "latent" else ()))
