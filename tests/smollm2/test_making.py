"""The scripts that made text and SAEs of SmolLM2, for a few steps on a tiny Llama."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from circuit_tui.core.example_files import example_dir
from circuit_tui.core.saes.sae_folder import load_folder

sys.path.insert(0, str(example_dir("smollm2") / "make"))

import finetune_saes
import train_saes
import write_text

BOS, VOCABULARY = 1, 50


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2,
            num_key_value_heads=1, max_position_embeddings=64,
        )
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def ids(model: Any) -> torch.Tensor:
    return write_text.write_rows(model, [[5, 6], [7]] * 20, 12, BOS, seed=0)


def test_rows_begin_with_bos_and_their_opening_and_go_on_as_the_model_samples(model: Any, ids: torch.Tensor) -> None:
    assert ids.shape == (40, 12)
    assert set(ids[:, 0].tolist()) == {BOS}
    assert ids[::2, 1:3].tolist() == [[5, 6]] * 20
    assert set(ids[1::2, 1].tolist()) == {7}
    assert torch.equal(ids, write_text.write_rows(model, [[5, 6], [7]] * 20, 12, BOS, seed=0))
    assert not torch.equal(ids, write_text.write_rows(model, [[5, 6], [7]] * 20, 12, BOS, seed=1))


def test_residuals_are_those_of_hugging_face_without_bos_and_sinks(model: Any, ids: torch.Tensor) -> None:
    hidden = model(ids, output_hidden_states=True).hidden_states[2][:, 1:].flatten(0, 1)
    found = train_saes.residuals(model, ids, 1)
    assert len(found) == len(hidden), "no token of a random model is a sink"
    torch.testing.assert_close(found, hidden, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        model.model.embed_tokens.weight[5] *= 1000
        try:
            assert len(train_saes.residuals(model, ids, 0)) <= len(hidden) - 20
        finally:
            model.model.embed_tokens.weight[5] /= 1000


@pytest.fixture(scope="module")
def folder(model: Any, ids: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saes") / "blocks.1.hook_resid_post"
    numbers = train_saes.train_sae(model, ids, 1, path, name="tiny", d_sae=32, k=4, steps=12, batch=64)
    assert 0 < numbers["l0"] <= 32
    return path


def test_a_trained_sae_opens_in_the_program(folder: Path) -> None:
    sae = load_folder(folder, torch.device("cpu"))
    assert (sae.hook, sae.architecture, sae.d_sae, sae.model_name) == (
        "blocks.1.hook_resid_post",
        "jumprelu",
        32,
        "tiny",
    )


def test_finetuning_lowers_the_kl_and_normalising_changes_no_output(
    model: Any, ids: torch.Tensor, folder: Path, tmp_path: Path
) -> None:
    config, weights = finetune_saes.read_sae(folder)
    thresholds = weights["threshold"].clone()
    losses = finetune_saes.finetune(model, ids, {1: weights}, steps=60)
    assert all(value >= 0 for value in losses)
    assert sum(losses[-10:]) < sum(losses[:10])
    assert torch.equal(weights["threshold"], thresholds)
    unit = finetune_saes.normalised(weights)
    torch.testing.assert_close(unit["W_dec"].norm(dim=1), torch.ones(32))
    finetune_saes.write_sae(config, unit, tmp_path / folder.name)
    ours = load_folder(tmp_path / folder.name, torch.device("cpu"))
    x = train_saes.residuals(model, ids, 1)
    z = x @ weights["W_enc"] + weights["b_enc"]
    expected = ((z * (z > thresholds)) @ weights["W_dec"] + weights["b_dec"]).detach()
    close = torch.isclose(ours.decode(ours.encode(x)), expected, rtol=1e-2, atol=1e-2).all(1)
    # In float16 an activation at its threshold may fall on either side.
    assert float(close.float().mean()) > 0.9
