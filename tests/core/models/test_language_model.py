"""Block replay against the Hugging Face model itself, for every shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny.models import LAYERS, make_model, make_tokenizer
from tiny.models_with_saes import CPU, TinyModel
from transformers import AutoModelForCausalLM

from circuit_tui.core.errors import UserError
from circuit_tui.core.models.load_model import load_model

SHAPES = ("gpt2", "llama", "gemma2", "gemma3", "neox", "qwen3")
TOKENS = torch.randint(3, 20, (4, 9), generator=torch.Generator().manual_seed(0))
ANSWER = torch.tensor([8, 3, 5, 8])
ROWS = torch.arange(4)


@pytest.mark.parametrize("shape", SHAPES)
def test_replay_from_any_block_gives_the_logits_of_hugging_face(
    tiny_model: Callable[[str], TinyModel], shape: str
) -> None:
    model = tiny_model(shape).model
    hf = AutoModelForCausalLM.from_pretrained(tiny_model(shape).folder).eval()
    with torch.no_grad():
        expected = hf(TOKENS, use_cache=False).logits[ROWS, ANSWER]
        resid = model.embed(TOKENS)
        for layer in range(LAYERS + 1):
            got = model.logits(model.run_blocks(resid, layer, LAYERS), ANSWER)
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
            if layer < LAYERS:
                resid = model.run_blocks(resid, layer, layer + 1)
    assert model.verify(TOKENS, ANSWER) < 1e-5
    assert model.can_run_subset
    assert model.n_layers == LAYERS
    assert resid.shape[-1] == model.d_model


@pytest.mark.parametrize("shape", SHAPES)
def test_the_length_of_a_batch_does_not_matter(tiny_model: Callable[[str], TinyModel], shape: str) -> None:
    """Right padding changes nothing, and the recording for one length is not used for another."""
    model = tiny_model(shape).model
    long = model.logits(model.run_blocks(model.embed(TOKENS), 0, LAYERS), torch.full((4,), 4))
    short = model.logits(model.run_blocks(model.embed(TOKENS[:, :5]), 0, LAYERS), torch.full((4,), 4))
    torch.testing.assert_close(short, long, rtol=0, atol=1e-5)


def test_a_model_whose_replay_differs_is_refused(tmp_path: Path) -> None:
    model = load_model(str(make_model("llama", tmp_path)), CPU, torch.float32)
    calls = 0

    def drift(_: torch.nn.Module, __: Any, out: Any) -> Any:
        """A block with a state: each call differs from the one before."""
        nonlocal calls
        calls += 1
        return out * (1 + 0.01 * calls)

    model.bridge.blocks[1].register_forward_hook(drift)
    with pytest.raises(
        UserError, match=rf"--model {tmp_path}: replaying its blocks gives other logits .* not supported"
    ):
        model.verify(TOKENS, ANSWER)


def test_a_model_that_computes_nan_is_refused(tmp_path: Path) -> None:
    model = load_model(str(make_model("gpt2", tmp_path)), CPU, torch.float32)
    next(iter(model.bridge.blocks[1].parameters())).data.fill_(float("nan"))
    with pytest.raises(UserError, match="replaying its blocks"):
        model.verify(TOKENS, ANSWER)


def test_a_prompt_longer_than_the_context_is_refused(tiny_model: Callable[[str], TinyModel]) -> None:
    with pytest.raises(UserError, match=r"--model .*: a prompt has 40 tokens, but the model reads at most 32"):
        tiny_model("gpt2").model.embed(torch.zeros(1, 40, dtype=torch.long))


@pytest.mark.parametrize("shape", ["gpt2", "gemma2"])
def test_bfloat16_keeps_float32_logits(shape: str, tmp_path: Path) -> None:
    model = load_model(str(make_model(shape, tmp_path)), CPU, torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert model.embed(TOKENS).dtype == torch.bfloat16
    assert model.logits(model.run_blocks(model.embed(TOKENS), 0, LAYERS), ANSWER).dtype == torch.float32
    model.verify(TOKENS, ANSWER)


def test_asked_for_processing_changes_the_stream_but_no_probability(tmp_path: Path) -> None:
    folder = str(make_model("gpt2", tmp_path))
    raw = load_model(folder, CPU, torch.float32)
    processed = load_model(folder, CPU, torch.float32, {"center_writing_weights": True})
    assert (raw.processing, processed.processing) == ("none", "center_writing_weights")
    for model in (raw, processed):
        model.verify(TOKENS, ANSWER)
    stream = [model.run_blocks(model.embed(TOKENS), 0, 2) for model in (raw, processed)]
    assert float(stream[0].mean(-1).abs().max()) > 1e-2
    assert float(stream[1].mean(-1).abs().max()) < 1e-5
    torch.testing.assert_close(stream[1], stream[0] - stream[0].mean(-1, keepdim=True), rtol=0, atol=1e-5)
    logits = [
        model.logits(model.run_blocks(x, 2, LAYERS), ANSWER) for model, x in zip((raw, processed), stream, strict=True)
    ]
    torch.testing.assert_close(logits[1].log_softmax(-1), logits[0].log_softmax(-1), rtol=0, atol=1e-4)
    assert not any(weight.requires_grad for weight in processed.bridge.parameters())


@pytest.mark.parametrize("shape", ["gpt2", "llama"])
def test_a_model_without_bos_is_given_none(shape: str, tmp_path: Path) -> None:
    make_model(shape, tmp_path)
    make_tokenizer(bos=False).save_pretrained(tmp_path)
    model = load_model(str(tmp_path), CPU, torch.float32)
    assert model.tokenizer.bos_token_id is None
    assert model.tokenizer.encode("the cat", add_special_tokens=False) == make_tokenizer().convert_tokens_to_ids(
        ["the", "cat"]
    )


def test_the_hash_follows_the_weights(tmp_path: Path) -> None:
    hashes = [
        load_model(str(make_model("gpt2", tmp_path / str(index), seed)), CPU, torch.float32).weights_sha256
        for index, seed in enumerate((1, 1, 2))
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert len(hashes[0]) == 64
