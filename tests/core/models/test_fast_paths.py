"""The fast paths against Hugging Face's own logits, for every shape; where they differ they are not used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny.gradients import random_mask, splices
from tiny.models import LAYERS, make_model
from tiny.models_with_saes import CPU, TinySae, build_model_with
from tiny.problems import open_problem
from tiny.tasks import TASKS
from torch import Tensor
from transformers import AutoModelForCausalLM

from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.load_model import load_model
from circuit_tui.core.saes.sae import EncoderColumns
from circuit_tui.core.splice import nodes
from circuit_tui.core.splice.splice import run_spliced

LAST = f"blocks.{LAYERS - 1}.hook_resid_post"
SHAPES = ("gpt2", "llama", "gemma2", "gemma3", "neox", "qwen3")
TOKENS = torch.randint(3, 20, (4, 9), generator=torch.Generator().manual_seed(0))
ANSWER = torch.tensor([8, 3, 5, 8])
ROWS = torch.arange(4)


def tokens_seen(model: LanguageModel) -> list[int]:
    """Returns a list that gets, at each call of the last MLP, how many tokens of a prompt it runs on."""
    seen: list[int] = []
    model.bridge.blocks[-1].mlp.original_component.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].shape[1])
    )
    return seen


@pytest.mark.parametrize("shape", SHAPES)
def test_from_any_block_to_the_logits_of_hugging_face(shape: str, tmp_path: Path) -> None:
    model = load_model(str(make_model(shape, tmp_path)), CPU, torch.float32)
    model.verify(TOKENS, ANSWER)
    seen = tokens_seen(model)
    hf = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        expected = hf(TOKENS, use_cache=False).logits[ROWS, ANSWER]
        resid = model.embed(TOKENS)
        for layer in range(LAYERS + 1):
            torch.testing.assert_close(model.logits_from(resid, layer, ANSWER), expected, rtol=0, atol=1e-5)
            resid = model.run_blocks(resid, layer, min(layer + 1, LAYERS))
    assert seen == [1, 1, 1, TOKENS.shape[1]]  # the last call is from `run_blocks`, which needs every token


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_that_of_the_whole_block(shape: str, tmp_path: Path) -> None:
    model = load_model(str(make_model(shape, tmp_path)), CPU, torch.float32)
    model.verify(TOKENS, ANSWER)
    resid = model.embed(TOKENS)
    weight = torch.randn(4, model.bridge.cfg.d_vocab, generator=torch.Generator().manual_seed(1))

    def gradient(short: bool) -> Tensor:
        x = resid.clone().requires_grad_()
        logits = model.logits_from(x, 1, ANSWER) if short else model.logits(model.run_blocks(x, 1, LAYERS), ANSWER)
        (logits * weight).sum().backward()
        assert x.grad is not None
        return x.grad

    torch.testing.assert_close(gradient(True), gradient(False), rtol=1e-5, atol=1e-5)


def test_an_mlp_that_mixes_tokens_is_given_all_of_them(tmp_path: Path) -> None:
    model = load_model(str(make_model("llama", tmp_path)), CPU, torch.float32)

    def mix(_: torch.nn.Module, __: Any, out: Tensor) -> Tensor:
        """Adds the output at the first token to every other."""
        return out + out[:, :1]

    model.bridge.blocks[-1].mlp.original_component.register_forward_hook(mix)
    assert model.verify(TOKENS, ANSWER) < 1e-5
    seen = tokens_seen(model)
    with torch.no_grad():
        expected = model.bridge(TOKENS, return_type="logits", use_cache=False)[ROWS, ANSWER]
        torch.testing.assert_close(model.logits_from(model.embed(TOKENS), 0, ANSWER), expected, rtol=0, atol=1e-5)
    assert seen[-1] == TOKENS.shape[1]


def test_the_gelu_written_out_becomes_one_kernel(tmp_path: Path) -> None:
    model = load_model(str(make_model("gpt2", tmp_path)), CPU, torch.float32)
    model.verify(TOKENS, ANSWER)
    kinds = [type(module).__name__ for module in model.bridge.modules()]
    assert "NewGELUActivation" not in kinds
    assert kinds.count("GELU") >= LAYERS


@pytest.mark.parametrize("shape", SHAPES)
def test_a_norm_shows_its_hook_points_what_it_does_as_soon_as_one_is_looked_at(
    shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(str(make_model(shape, tmp_path)), CPU, torch.float32)
    norm, resid = model.bridge.blocks[1].ln1, model.embed(TOKENS)
    with torch.no_grad():
        before = norm(resid)
        model.verify(TOKENS, ANSWER)
        torch.testing.assert_close(norm(resid), before, rtol=0, atol=1e-6)
        seen: list[Tensor] = []
        norm.hook_normalized.add_hook(lambda x, hook: seen.append(x))
        torch.testing.assert_close(norm(resid), before, rtol=0, atol=1e-6)
        norm.hook_normalized.remove_hooks()
        norm(resid)
    assert len(seen) == 1
    torch.testing.assert_close(seen[0].pow(2).mean(-1), torch.ones(TOKENS.shape), rtol=1e-3, atol=1e-3)
    calls = list[int]()
    monkeypatch.setattr(norm, "_python_norm_forward", lambda x: calls.append(1) or x)
    monkeypatch.setattr(norm, "_hf_autograd_forward_with_hooks", lambda x: calls.append(1) or x)
    norm(resid)
    assert not calls


@pytest.mark.parametrize("shape", ["gpt2", "llama", "gemma2"])
def test_before_a_last_site_behind_the_last_block_only_the_answers_are_worked_on(
    shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits and gradients equal those of passes over all tokens, which run where the site's input is asked for."""
    monkeypatch.setattr(nodes, "PADDED_GROUP_COST", {"cpu": 0})
    sites = [TinySae("blocks.0.hook_resid_post", "standard"), TinySae(LAST, "jumprelu")]
    problem = open_problem(build_model_with(shape, tmp_path, sites), TASKS["roles"], errors="keep")
    seen = tokens_seen(problem.model)
    slots: list[int] = []
    encode = EncoderColumns.encode

    def counted(columns: EncoderColumns, x: Tensor) -> Tensor:
        slots.append(columns.weight.shape[0] * columns.weight.shape[2])
        return encode(columns, x)

    monkeypatch.setattr(EncoderColumns, "encode", counted)
    (batch,) = problem.batches("train")
    mask = random_mask(problem)
    found = []
    for inputs in (None, [batch.prefix] * 2):
        seen.clear()
        slots.clear()
        moved = mask.clone().requires_grad_()
        logits = run_spliced(
            problem.model, problem.sites, batch, splices(problem, batch, moved), inputs=inputs
        ).result()
        (gradient,) = torch.autograd.grad(batch.logit_difference(logits).sum(), moved)
        found.append((logits, gradient, seen[-1], sum(slots)))
    (short, short_gradient, n_seen, n_slots), (whole, whole_gradient, all_seen, all_slots) = found
    torch.testing.assert_close(short, whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(short_gradient, whole_gradient, rtol=1e-4, atol=1e-6)
    space, read = problem.space, torch.isin(problem.space.position, batch.read_positions)
    last = space.site == 1
    assert bool(short_gradient[last & read].any())
    assert not bool(whole_gradient[last & ~read].any())
    assert (n_seen, all_seen) == (1, batch.prefix.shape[1])
    assert 0 < all_slots - n_slots <= int((last & ~read).sum())  # a padded group may have positions that are not read
