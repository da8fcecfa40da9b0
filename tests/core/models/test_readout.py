"""Logit weights of directions, against the weights of the plain Hugging Face model and the definition of its norm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny.models import make_model
from tiny.models_with_saes import CPU, TinyModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from circuit_tui.core.models import readout as readout_module
from circuit_tui.core.models.load_model import PROCESSING_STEPS, load_model
from circuit_tui.core.models.readout import Readout

SHAPES = ("gpt2", "llama", "gemma2", "gemma3", "neox", "qwen3")
WITH_MEAN = ("gpt2", "neox")
DIRECTIONS = torch.randn(5, 16, generator=torch.Generator().manual_seed(0)) + 0.5


def parts(folder: Path) -> tuple[Any, Tensor, Tensor]:
    """The final norm of a model, its gain, and the unembedding `[vocab, d_model]`."""
    hf = AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)
    body = getattr(hf, hf.base_model_prefix)
    norm = next(getattr(body, name) for name in ("ln_f", "norm", "final_layer_norm") if hasattr(body, name))
    gain = norm.weight + (1.0 if "gemma" in hf.config.model_type else 0.0)
    return norm, gain, hf.get_output_embeddings().weight


def centred(x: Tensor, shape: str) -> Tensor:
    return x - x.mean(-1, keepdim=True) if shape in WITH_MEAN else x


def expected_weights(folder: Path, shape: str) -> Tensor:
    _, gain, unembedding = parts(folder)
    return (centred(DIRECTIONS, shape) * gain) @ unembedding.t()


@pytest.mark.parametrize("shape", SHAPES)
def test_logit_weights_are_those_of_the_models_own_norm_and_unembedding(
    tiny_model: Callable[[str], TinyModel], shape: str
) -> None:
    readout, expected = Readout(tiny_model(shape).model), expected_weights(tiny_model(shape).folder, shape)
    assert readout.centred == (shape in WITH_MEAN)
    assert readout.soft_cap == (4.0 if shape == "gemma2" else None)
    torch.testing.assert_close(readout.weights(DIRECTIONS), expected, rtol=1e-4, atol=1e-4)
    tokens = torch.tensor([7, 3, 7])
    torch.testing.assert_close(readout.weights(DIRECTIONS, tokens), expected[:, tokens], rtol=1e-4, atol=1e-4)
    right, wrong = torch.tensor([5, 4]), torch.tensor([6, 9])
    push = DIRECTIONS @ readout.answer_directions(right, wrong).t()
    torch.testing.assert_close(push, expected[:, right] - expected[:, wrong], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_direction_changes_the_logits_by_its_weights_over_the_scale(
    tiny_model: Callable[[str], TinyModel], shape: str
) -> None:
    """The scale is that of the norm: with it held, weights over scale are what a direction adds before any cap."""
    norm, gain, unembedding = parts(tiny_model(shape).folder)
    readout, resid = Readout(tiny_model(shape).model), 3 * DIRECTIONS.flip(0)
    scale = readout.scale(resid)
    moved = centred(resid + DIRECTIONS, shape) / scale.unsqueeze(1) * gain + getattr(norm, "bias", torch.zeros(16))
    held = (moved - norm(resid)) @ unembedding.t()
    torch.testing.assert_close(held, readout.weights(DIRECTIONS) / scale.unsqueeze(1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("chunk", [5, 2**14])
def test_the_extreme_tokens_are_those_of_the_sorted_weights(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readout_module, "VOCAB_CHUNK", chunk)
    model = load_model(str(make_model("llama", tmp_path)), CPU, torch.bfloat16)
    readout = Readout(model)
    weights = readout.weights(DIRECTIONS)
    largest, promoted, smallest, suppressed = readout.extreme_tokens(DIRECTIONS, 4)
    values = weights.sort(dim=1)[0]
    torch.testing.assert_close(largest, values.flip(1)[:, :4])
    torch.testing.assert_close(smallest, values[:, :4])
    torch.testing.assert_close(weights.gather(1, promoted), largest)
    torch.testing.assert_close(weights.gather(1, suppressed), smallest)


@pytest.mark.parametrize("shape", ["gpt2", "neox", "llama"])
def test_weights_folded_into_the_unembedding_change_no_difference_of_tokens(shape: str, tmp_path: Path) -> None:
    """Folding moves the gain, centring the unembedding shifts all tokens alike: what a direction prefers stays."""
    folder = make_model(shape, tmp_path)
    raw = load_model(str(folder), CPU, torch.float32)
    steps = PROCESSING_STEPS if shape in WITH_MEAN else tuple(s for s in PROCESSING_STEPS if "writing" not in s)
    processed = load_model(str(folder), CPU, torch.float32, dict.fromkeys(steps, True))
    assert processed.processing != raw.processing
    expected = expected_weights(folder, shape)
    for model in (raw, processed):
        got = Readout(model).weights(DIRECTIONS)
        torch.testing.assert_close(
            got - got.mean(1, keepdim=True), expected - expected.mean(1, keepdim=True), rtol=1e-3, atol=1e-3
        )
