"""The circuit made by hand of `tiny/planted.py`: its edges and heads are known in advance, and found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from tiny.models import VOCAB, make_tokenizer
from tiny.models_with_saes import CPU
from tiny.planted import ARRIVED, SUBJECT, planted_problem

from circuit_tui.core.edges.edge_table import CircuitEdges
from circuit_tui.core.edges.effects import all_effects
from circuit_tui.core.edges.freezes import record_freezes
from circuit_tui.core.edges.open_edges import open_passes
from circuit_tui.core.edges.view import EdgesView, EdgeView
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.models.load_model import load_model


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> CircuitEdges:
    folder = tmp_path_factory.mktemp("planted")
    hooks = "blocks.0.hook_resid_pre", "blocks.1.hook_resid_post"
    problem = planted_problem(folder, hooks, ((SUBJECT,), (ARRIVED,)))
    # A softmax leaves a little to every token: what fires by that alone is not in the circuit.
    space = problem.space
    peaks = torch.stack([problem.clean_stats[site].peak for site in range(len(hooks))])
    found = CircuitEdges(Evaluator(problem, "test"), peaks[space.site, space.position, space.latent] > 0.05)
    found.compute().result()
    found.compute_metric([(edge.source, edge.target) for edge in found.view.edges]).result()
    return found


def between(view: EdgesView, source: str, target: str) -> EdgeView:
    names = [end.name for end in view.ends]
    return next(edge for edge in view.edges if (edge.source, edge.target) == (names.index(source), names.index(target)))


def test_the_planted_path_is_found(edges: CircuitEdges) -> None:
    """The subject's latents feed those that the answer reads, and no other edge between nodes carries anything."""
    view = edges.view
    assert {end.name for end in view.ends if end.kind == "latent"} == {
        "L0pre 0@0", "L0pre 1@0", "L1 0@2", "L1 1@2",
    }  # fmt: skip
    planted = [between(view, f"L0pre {one}@0", f"L1 {other}@2") for one in (0, 1) for other in (0, 1)]
    for edge, sign in zip(planted, (1, -1, -1, 1), strict=True):
        assert edge.size > 0.05
        assert abs(edge.metric.mean if edge.metric else 0) > 0.1
        # What a latent gives is positive where it fires and the target is its own, and where neither is so.
        assert edge.edge.spread == pytest.approx(edge.size, rel=1e-3), sign
    for latent in (0, 1):
        assert between(view, "token@0", f"L0pre {latent}@0").size > 0.3
        assert between(view, f"L1 {latent}@2", "logit difference").size > 0.05
    for edge in view.edges:
        source, target = view.ends[edge.source], view.ends[edge.target]
        if source.kind == "latent" and target.kind == "latent":
            assert edge in planted


def test_a_path_through_two_heads_is_counted_once_at_the_second(edges: CircuitEdges) -> None:
    edge = between(edges.view, "L0pre 0@0", "L1 0@2")
    heads = {(head.block, head.head): head.aligned for head in edge.heads}
    assert heads[1, 0] == pytest.approx(edge.size, rel=3e-2)
    assert {head for head, value in heads.items() if abs(value) > 1e-3 * edge.size} == {(1, 0)}
    assert edge.aligned_past_heads == pytest.approx(0, abs=1e-6)
    assert abs(edge.aligned_rest) < 0.03 * edge.size


def test_the_distractor_attends_and_has_no_part(edges: CircuitEdges) -> None:
    circuit = edges.passes[0]
    pattern = record_freezes(circuit).patterns[0]
    second = circuit.prompts.ids[0].tolist().index(1)
    first = circuit.prompts.ids[0].tolist().index(0)
    assert float(pattern[:, :, second, first].min()) > 0.99  # both heads of the block
    for edge in edges.view.edges:
        assert all((head.block, head.head) != (0, 1) for head in edge.heads)


def test_heads_in_a_wrong_layout_are_refused(edges: CircuitEdges, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the heads of W_V in another order than those of the patterns nothing adds up."""
    attention = edges.evaluator.problem.model.bridge.blocks[0].attn
    right = attention.W_V
    monkeypatch.setattr(type(attention), "W_V", property(lambda self: right.flip(-1)), raising=False)
    with pytest.raises(UserError, match="cannot be taken apart"):
        record_freezes(edges.passes[0])


def test_grouped_queries_of_several_groups_are_repeated_in_order(tmp_path: Path) -> None:
    """Two values for four heads: 0 0 1 1, not 0 1 0 1."""
    from circuit_tui.core.edges import freezes

    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=8, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
        head_dim=4, vocab_size=VOCAB, max_position_embeddings=16, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    model = load_model(str(tmp_path / "model"), CPU, torch.float32)
    embedding = model.embed(torch.arange(3, 11).reshape(2, 4))
    freezes.check_heads(model, embedding)
    repeated = torch.Tensor.repeat_interleave
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.Tensor,
            "repeat_interleave",
            lambda self, count, dim: self.repeat(count, 1, 1) if self.dim() == 3 else repeated(self, count, dim),
        )
        with pytest.raises(UserError, match="do not add up"):
            freezes.check_heads(model, embedding)


def test_effects_need_float32(edges: CircuitEdges) -> None:
    problem = edges.evaluator.problem
    problem.model.bridge.to(torch.bfloat16)
    try:
        with pytest.raises(UserError, match="--dtype bfloat16: edges need float32"):
            open_passes(problem, edges.nodes)
    finally:
        problem.model.bridge.to(torch.float32)
    assert all_effects(edges.passes).result().edge.isfinite().all()
