"""Why a head that carries an edge looks there: on a planted circuit, and against the edge on each prompt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny.models_with_saes import TinySae, build_model_with
from tiny.planted import ARRIVED, FIRST, MOVED, SECOND, SUBJECT, THIRD, planted_problem, thing_latent
from tiny.problems import open_problem
from tiny.tasks import TASKS

from circuit_tui.core.attribution.edge_score import edge_score, heads_of
from circuit_tui.core.attribution.score_parts import ScorePart
from circuit_tui.core.edges.edge_table import CircuitEdges
from circuit_tui.core.edges.effects import edge_by_prompt
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator

EVERYWHERE = ("blocks.0.hook_resid_pre", "blocks.0.hook_resid_post")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> CircuitEdges:
    """The planted model with SAEs whose latents are the things that its stream can hold."""
    problem = planted_problem(tmp_path_factory.mktemp("score"), (*EVERYWHERE, "blocks.1.hook_resid_post"))
    edges = CircuitEdges(Evaluator(problem, "test"), torch.ones(len(problem.space), dtype=torch.bool))
    edges.compute().result()
    return edges


def end(edges: CircuitEdges, name: str) -> int:
    return [each.name for each in edges.view.ends].index(name)


def latents(part: ScorePart) -> tuple[int | None, int | None]:
    assert part.query is not None
    assert part.key is not None
    return part.query.latent, part.key.latent


def test_the_planted_pairs_are_found(planted: CircuitEdges) -> None:
    """Head 1.0 looks from the third word to the second, because one is third and the other second; likewise 0.0."""
    moved = edge_score(
        planted, end(planted, f"L0 {thing_latent(MOVED)}@1"), end(planted, f"L1 {thing_latent(ARRIVED)}@2")
    )
    assert (moved.score.block, moved.score.head) == (1, 0)
    assert (moved.score.query, moved.score.key) == (3, 2)  # BOS is token 0
    assert moved.score.weight > 0.99
    assert latents(moved.score.parts[0]) == (thing_latent(THIRD), thing_latent(SECOND))
    copied = edge_score(
        planted, end(planted, f"L0pre {thing_latent(SUBJECT)}@0"), end(planted, f"L0 {thing_latent(MOVED)}@1")
    )
    assert (copied.score.block, copied.score.head) == (0, 0)
    assert (copied.score.query, copied.score.key) == (2, 1)
    assert latents(copied.score.parts[0]) == (thing_latent(SECOND), thing_latent(FIRST))
    for found in (moved, copied):
        pair, rest = found.score.parts[0], found.score.parts[1:]
        assert abs(pair.value) > 3 * max(abs(part.value) for part in rest)
        assert found.score.total == pytest.approx(found.score.value, rel=1e-4)


def test_the_distractor_carries_no_edge(planted: CircuitEdges) -> None:
    source, target = end(planted, f"L0pre {thing_latent(SUBJECT)}@0"), end(planted, f"L0 {thing_latent(MOVED)}@1")
    with pytest.raises(UserError, match=r"head 0\.1 does not carry the edge from .*; 0\.0 do"):
        edge_score(planted, source, target, (0, 1))


def test_a_path_through_two_heads_has_its_key_where_the_second_reads(tmp_path: Path) -> None:
    """Without an SAE between the heads, head 1.0 reads at the second word what came from the first."""
    problem = planted_problem(tmp_path, ("blocks.0.hook_resid_pre", "blocks.1.hook_resid_post"))
    edges = CircuitEdges(Evaluator(problem, "test"), torch.ones(len(problem.space), dtype=torch.bool))
    edges.compute().result()
    found = edge_score(
        edges, end(edges, f"L0pre {thing_latent(SUBJECT)}@0"), end(edges, f"L1 {thing_latent(ARRIVED)}@2")
    )
    assert (found.score.block, found.score.head, found.score.query, found.score.key) == (1, 0, 3, 2)


def test_it_is_the_prompt_on_which_the_edge_is_largest(tmp_path: Path) -> None:
    saes = (TinySae("blocks.0.hook_resid_post", "standard"), TinySae("blocks.1.hook_resid_post", "jumprelu"))
    problem = open_problem(build_model_with("llama", tmp_path, saes), TASKS["index"])
    peaks = torch.stack([problem.clean_stats[site].peak for site in range(2)])
    space = problem.space
    fires = peaks[space.site, space.position, space.latent]
    edges = CircuitEdges(Evaluator(problem, "test"), fires >= fires.topk(8).values[-1])
    edges.compute().result()
    for edge in edges.view.edges:
        by_prompt = edge_by_prompt(edges.passes, edge.source, edge.target)
        present = by_prompt[~by_prompt.isnan()]
        assert float(present.mean()) == pytest.approx(edge.edge.mean, abs=1e-5)
        assert float(present.abs().mean()) == pytest.approx(edge.size, abs=1e-5)
    carried = [edge for edge in edges.view.edges if heads_of(edge)]
    assert carried
    edge = max(carried, key=lambda each: each.size)
    found = edge_score(edges, edge.source, edge.target, n_parts=3)
    largest = edge_by_prompt(edges.passes, edge.source, edge.target).abs().nan_to_num(-1).argmax()
    assert found.prompt == int(largest)
    assert found.heads == heads_of(edge)
    assert len(found.score.parts) == 4
    assert found.tokens[0] == "<bos>"


def test_what_no_head_carries_is_refused(planted: CircuitEdges) -> None:
    logits = len(planted.view.ends) - 1
    last = next(edge for edge in planted.view.edges if edge.target == logits)
    with pytest.raises(UserError, match="no head carries the edge"):
        edge_score(planted, last.source, logits)
    with pytest.raises(UserError, match="there is no such edge"):
        edge_score(planted, logits, 0)
