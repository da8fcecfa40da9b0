"""A head's score taken apart: against Hugging Face's own attention, and against finite changes of the stream."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from naive import opened as open_plain
from tiny.models_with_saes import TinySae, build_model_with
from tiny.problems import open_problem
from tiny.tasks import TASKS

from circuit_tui.core.attribution.head_score import head_score
from circuit_tui.core.attribution.plain_run import PlainRun
from circuit_tui.core.attribution.score_parts import HeadScore
from circuit_tui.core.errors import UserError

QUERY, KEY = 5, 3
SITES = TinySae("blocks.0.hook_resid_post", "jumprelu"), TinySae("blocks.2.hook_resid_pre", "standard")
SHAPES = ("gpt2", "llama", "gemma2", "neox", "qwen3")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[PlainRun, Path]]:
    @cache
    def make(shape: str) -> tuple[PlainRun, Path]:
        torch.manual_seed(0)
        built = build_model_with(shape, tmp_path_factory.mktemp(f"score-{shape}"), SITES)
        problem = open_problem(built, TASKS["index"])
        prompts = problem.prompt_sets["test"].clean
        tokens = prompts.tokens[0, : int(prompts.lengths[0])]
        return PlainRun(problem.model, problem.sites, tokens, prompts.n_bos), built.folder

    return make


@pytest.mark.parametrize("shape", SHAPES)
def test_the_parts_add_up_to_a_score_whose_softmax_is_the_models_attention(
    made: Callable[[str], tuple[PlainRun, Path]], shape: str
) -> None:
    run, folder = made(shape)
    hf, _ = open_plain(folder, torch.float32)
    attentions = hf(run.tokens.unsqueeze(0), output_attentions=True).attentions
    for block, head in ((0, 0), (2, 1)):
        scores = []
        for key in range(QUERY + 1):
            weight = float(attentions[block][0, head, QUERY, key])
            if weight < 1e-8:  # outside of a sliding window
                scores.append(-torch.inf)
                continue
            score = head_score(run, block, head, QUERY, key)
            assert score.total == pytest.approx(score.value, abs=1e-4 * max(1.0, abs(score.value)))
            assert score.weight == pytest.approx(weight, abs=1e-5)
            scores.append(score.capped)
        torch.testing.assert_close(
            torch.tensor(scores).softmax(0),
            attentions[block][0, head, QUERY, : QUERY + 1].detach(),
            atol=1e-5,
            rtol=1e-4,
        )


@pytest.mark.parametrize("shape", ["llama", "qwen3", "gpt2"])
def test_a_pair_is_what_the_score_loses_without_it(made: Callable[[str], tuple[PlainRun, Path]], shape: str) -> None:
    """Bilinear with held scales: s(x, y) - s(x - a, y) - s(x, y - c) + s(x - a, y - c), computed by hand."""
    run, folder = made(shape)
    hf, _ = open_plain(folder, torch.float32)
    block, head = 2, 1
    pairs = [
        part for part in head_score(run, block, head, QUERY, KEY).parts
        if part.query is not None and part.key is not None and part.query.kind == part.key.kind == "latent"
    ]  # fmt: skip
    assert pairs
    body = getattr(hf, hf.base_model_prefix)
    layer = (body.h if hasattr(body, "h") else body.layers)[block]
    norm = layer.ln_1 if hasattr(layer, "ln_1") else layer.input_layernorm
    for part in pairs[:3]:
        written = []
        for side, token in ((part.query, QUERY), (part.key, KEY)):
            assert side is not None and side.site is not None and side.latent is not None  # noqa: PT018
            sae = run.sites[side.site].sae
            stream = run.stream_at(side.site)
            written.append(stream.activations[token, side.latent] * sae.w_dec[side.latent])
        q, k = (
            _maps(hf, layer, norm, run, block, head, x, token, which)
            for x, token, which in zip(written, (QUERY, KEY), "qk", strict=True)
        )
        width = q.shape[-1]
        assert part.value == pytest.approx(float(q @ k) / width**0.5, abs=1e-4)


def _maps(hf, layer, norm, run, block, head, x, token, which):  # type: ignore[no-untyped-def]
    """A part of the stream through norm, projection, its norm and rotary turn, with weights read off the HF model."""
    stream = run.streams[block]
    if hasattr(layer, "attn"):  # GPT-2
        held = (stream[token].var(correction=0) + norm.eps).sqrt()
        normed = (x - x.mean()) / held * norm.weight
        n = x.shape[0]
        weight = layer.attn.c_attn.weight[:, :n] if which == "q" else layer.attn.c_attn.weight[:, n : 2 * n]
        width = n // 2
        return (normed @ weight)[head * width : (head + 1) * width]
    eps = norm.variance_epsilon
    held = (stream[token].pow(2).mean() + eps).sqrt()
    attention = layer.self_attn
    width = attention.head_dim
    projection = attention.q_proj if which == "q" else attention.k_proj
    own = head if which == "q" else 0
    made = projection.weight[own * width : (own + 1) * width] @ (x / held * norm.weight)
    inner = getattr(attention, f"{which}_norm", None)
    if inner is not None:
        whole = projection.weight[own * width : (own + 1) * width] @ norm(stream[token])
        made = made / (whole.pow(2).mean() + inner.variance_epsilon).sqrt() * inner.weight
    cos, sin = getattr(hf, hf.base_model_prefix).rotary_emb(x, torch.tensor([[token]]))
    turned = torch.cat([-made[width // 2 :], made[: width // 2]])
    return made * cos[0, 0] + turned * sin[0, 0]


def test_the_rest_stands_as_one(made: Callable[[str], tuple[PlainRun, Path]]) -> None:
    run, _ = made("llama")
    whole, cut = head_score(run, 2, 0, QUERY, KEY), head_score(run, 2, 0, QUERY, KEY, 4)
    assert len(cut.parts) == 5
    assert cut.parts[-1].count == len(whole.parts) - 4
    assert cut.total == pytest.approx(whole.total, abs=1e-5)
    assert isinstance(cut, HeadScore)


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ((9, 0, 5, 3), "head 9.0: the model has blocks 0 to 2 with heads 0 to 1"),
        ((0, 0, 3, 5), "the key is a token from 0 to the query"),
        ((0, 0, 6, 0), "does not see token 0 from token 6"),
    ],
)
def test_what_is_not_there_is_refused(
    made: Callable[[str], tuple[PlainRun, Path]], at: tuple[int, int, int, int], says: str
) -> None:
    run, _ = made("gemma2")
    with pytest.raises(UserError, match=says):
        head_score(run, *at)


def test_another_layout_of_heads_is_refused(
    made: Callable[[str], tuple[PlainRun, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = made("llama")
    attention = type(run.model.bridge.blocks[0].attn)
    monkeypatch.setattr(attention, "W_Q", property(lambda self: self.q.weight.t().reshape(16, 8, 2).permute(2, 0, 1)))
    with pytest.raises(UserError, match="cannot be taken apart"):
        head_score(run, 1, 0, QUERY, KEY)
