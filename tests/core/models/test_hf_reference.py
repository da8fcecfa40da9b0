"""A model is refused unless it does here what it does in Hugging Face, and where it departs is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny.models import make_model
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.models.check_pass import check_pass
from circuit_tui.core.models.hf_reference import load_passes
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.load_model import load_model

CPU = torch.device("cpu")
PROMPTS = [torch.arange(3, 8), torch.arange(5, 17)]


def loaded(folder: Path, dtype: torch.dtype = torch.float32, **more: Any) -> LanguageModel:
    model = load_model(str(folder), CPU, dtype, prompts=PROMPTS, **more)
    model.verify(torch.arange(3, 19).reshape(2, 8), torch.tensor([7, 5]))
    return model


@pytest.mark.parametrize("shape", ["gpt2", "llama", "gemma2", "neox"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_model_that_agrees_is_accepted(shape: str, side: Any, tmp_path: Path) -> None:
    model = loaded(make_model(shape, tmp_path))
    model.padding_side = side
    assert [len(one.tokens) for one in model.passes] == [5, 12]
    assert all(len(one.residuals) == model.n_layers + 1 for one in model.passes)
    check_pass(model, model.passes, 5)


def test_the_passes_are_hugging_face_s_own(tmp_path: Path) -> None:
    """The same with a model that no bridge has touched."""
    from transformers import AutoModelForCausalLM

    folder = make_model("llama", tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(str(folder), attn_implementation="eager").eval()
    for one in loaded(folder).passes:
        with torch.no_grad():
            logits = plain(one.tokens.unsqueeze(0)).logits[0, -1]
        torch.testing.assert_close(one.logits, logits, rtol=0, atol=1e-5)
    again = load_passes("again", folder, torch.float32, CPU, PROMPTS)
    torch.testing.assert_close(again[1].residuals, loaded(folder).passes[1].residuals)


def test_processed_weights_agree_up_to_what_the_processing_takes_away(tmp_path: Path) -> None:
    processing = {"center_writing_weights": True, "center_unembed": True, "fold_ln": True}
    model = loaded(make_model("gpt2", tmp_path), processing=processing)
    assert "center_writing_weights" in model.processing
    check_pass(model, model.passes, 4)


def test_attention_that_the_bridge_scales_otherwise_is_refused_where_it_departs(tmp_path: Path) -> None:
    folder = make_model("gpt2", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "scale_attn_weights": False}))
    model = loaded(folder)
    with pytest.raises(UserError, match=r"departs from Hugging Face's own after block 0, by .*nothing can be searched"):
        check_pass(model, model.passes, 1)


def test_numbers_that_depend_on_the_batch_are_refused_in_a_batch_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where rotary embeddings are scaled by the length of the batch: a short prompt in it gets other numbers."""
    model = loaded(make_model("gpt2", tmp_path))
    recorded = model.recordings.for_length
    monkeypatch.setattr(model.recordings, "for_length", lambda length: [_Batched(call) for call in recorded(length)])
    check_pass(model, model.passes, 1)
    with pytest.raises(UserError, match="after block 0 with prompts of 5 and 12 tokens in one batch"):
        check_pass(model, model.passes, 2)


class _Batched:
    """A block's recorded call which doubles the first row of a batch."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def run(self, *args: Any) -> Tensor:
        out = self._call.run(*args)
        out = (out[0] if isinstance(out, tuple) else out).clone()
        if len(out) > 1:
            out[0] *= 2
        return out


def test_a_weight_that_would_be_drawn_at_random_is_refused(tmp_path: Path) -> None:
    folder = make_model("gpt2", tmp_path)
    _rename(folder, "h.1.mlp.c_fc.weight", "h.1.ffn.c_fc.weight")
    with pytest.raises(UserError, match=r"has no .*h\.1\.mlp\.c_fc\.weight: .*at random; it has .*h\.1\.ffn"):
        loaded(folder)


def test_a_weight_that_is_not_finite_is_named(tmp_path: Path) -> None:
    folder = make_model("llama", tmp_path)
    weights = load_file(folder / "model.safetensors")
    name = next(key for key in weights if "layers.1.mlp" in key)
    weights[name][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=f"the weight {name} is not finite"):
        loaded(folder)


def test_activations_that_a_dtype_cannot_hold_name_block_and_dtype(tmp_path: Path) -> None:
    folder = make_model("gpt2", tmp_path)
    weights = load_file(folder / "model.safetensors")
    name = next(key for key in weights if "h.1.mlp.c_proj.weight" in key)
    weights[name] *= 1e5 / float(weights[name].abs().max()) * 0.5
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    loaded(folder)
    with pytest.raises(UserError, match=r"activations are not finite after block 1 in float16; try --dtype float32"):
        loaded(folder, torch.float16)


def test_a_token_beyond_the_embedding_is_named(tmp_path: Path) -> None:
    folder = make_model("gpt2", tmp_path)
    with pytest.raises(UserError, match=r"the tokenizer has token 99999, but the model's embedding has \d+ rows"):
        load_model(str(folder), CPU, torch.float32, prompts=[torch.tensor([1, 99999])])


def _rename(folder: Path, old: str, new: str) -> None:
    weights = load_file(folder / "model.safetensors")
    assert any(old in key for key in weights)
    renamed = {key.replace(old, new): value for key, value in weights.items()}
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
