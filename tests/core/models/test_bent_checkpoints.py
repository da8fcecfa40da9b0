"""Checkpoints bent as people bend them: this program computes what plain Hugging Face does, or says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny.models import make_model
from transformers import AutoModelForCausalLM

from circuit_tui.core.errors import UserError
from circuit_tui.core.models.check_pass import check_pass
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.load_model import load_model
from circuit_tui.core.models.model_files import model_folder
from circuit_tui.core.views import LoadProgress

CPU = torch.device("cpu")
PROMPTS = [torch.arange(3, 8), torch.arange(5, 17)]
Bend = Callable[[Path], None]


@cache
def saved(shape: str, folder: Path) -> dict[str, bytes]:
    """The files of a good model."""
    return {path.name: path.read_bytes() for path in make_model(shape, folder / shape).iterdir()}


@pytest.fixture
def good(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that writes a good model of a shape, made once, into the test's folder."""
    base = tmp_path_factory.getbasetemp() / "good"

    def write(shape: str) -> Path:
        for name, content in saved(shape, base).items():
            (tmp_path / name).write_bytes(content)
        return tmp_path

    return write


def config(**values: Any) -> Bend:
    """Changes the configuration; None takes a value out."""

    def bend(folder: Path) -> None:
        path = folder / "config.json"
        data = json.loads(path.read_text()) | values
        path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))

    return bend


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Bend:
    """Changes the tensors of the checkpoint."""

    def bend(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        contiguous = {key: value.contiguous() for key, value in tensors.items()}
        save_file(contiguous, folder / "model.safetensors", {"format": "pt"})

    return bend


def shards(keep_second: bool) -> Bend:
    """Spreads the checkpoint over two files."""

    def bend(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        names, where = sorted(tensors), {}
        for number, part in ((1, names[::2]), (2, names[1::2])):
            file = f"model-0000{number}-of-00002.safetensors"
            where |= dict.fromkeys(part, file)
            if number == 1 or keep_second:
                save_file({name: tensors[name] for name in part}, folder / file, {"format": "pt"})
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))

    return bend


def replaced(name: str, content: Callable[[bytes], bytes]) -> Bend:
    """Writes other bytes into a file."""
    return lambda folder: (folder / name).write_bytes(content((folder / name).read_bytes())) and None


def pickled(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")


class Runs:
    """Unpickled, it would run a function."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


def pickled_code(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"lm_head.weight": Runs()}, folder / "pytorch_model.bin")


def biases(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if "q_proj.weight" in name]:
        tensors[name.replace("weight", "bias")] = torch.ones(len(tensors[name]))


def loaded(folder: Path) -> LanguageModel:
    model = load_model(str(folder), CPU, torch.float32, prompts=PROMPTS)
    model.verify(torch.arange(3, 19).reshape(2, 8), torch.tensor([7, 5]))
    return model


ROPE = {"rope_theta": 1e4}


@pytest.mark.parametrize(
    ("shape", "bend"),
    [
        ("llama", shards(keep_second=True)),
        ("llama", pickled),
        ("llama", config(rope_parameters={"rope_type": "default", "rope_theta": 50.0})),
        ("llama", config(rope_parameters=None, rope_theta=50.0)),
        ("llama", config(rope_parameters=None, rope_scaling={"type": "linear", "factor": 4.0})),
        (
            "llama",
            config(
                rope_parameters=ROPE
                | {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8}
            ),
        ),
        ("llama", config(rms_norm_eps=0.5)),
        ("llama", config(hidden_act="relu")),
        ("llama", config(num_hidden_layers=2)),
        ("llama", weights(lambda tensors: tensors.update({k: v.half() for k, v in tensors.items()}))),
        ("llama", weights(biases)),
        ("llama", config(architectures=["MistralForCausalLM"], model_type="mistral", sliding_window=4)),
        ("gpt2", config(layer_norm_epsilon=0.5)),
        ("gpt2", config(activation_function="gelu")),
        ("gpt2", config(scale_attn_by_inverse_layer_idx=True)),
    ],
)  # fmt: skip
def test_what_hugging_face_computes_is_computed(good: Callable[[str], Path], shape: str, bend: Bend) -> None:
    folder = good(shape)
    bend(folder)
    model = loaded(folder)
    check_pass(model, model.passes, 4)
    plain = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, attn_implementation="eager").eval()
    for one in model.passes:
        with torch.no_grad():
            logits = plain(one.tokens.unsqueeze(0)).logits[0, -1]
        torch.testing.assert_close(one.logits, logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "bend", "says"),
    [
        ("llama", shards(keep_second=False), "model-00002-of-00002.safetensors"),
        ("llama", config(num_hidden_layers=4), r"the checkpoint has no model\.layers\.3\..*drawn at random"),
        ("llama", config(attention_bias=True), r"has no .*_proj\.bias.*drawn at random"),
        (
            "llama",
            config(num_key_value_heads=2),
            r"k_proj\.weight has shape \[8, 16\] there, but .* it \[16, 16\]",
        ),
        ("llama", config(head_dim=16), r"config\.json does not fit the checkpoint: .*and \d+ more weights"),
        ("llama", config(vocab_size=20), r"(embed_tokens|lm_head)\.weight has shape \[27, 16\] there"),
        ("gpt2", config(tie_word_embeddings=False), r"has no lm_head\.weight: .*drawn at random"),
        ("gpt2", config(activation_function="swooshy"), "cannot be loaded: 'swooshy' is unknown"),
        ("llama", config(model_type="gpt2", architectures=["GPT2LMHeadModel"]), "has no transformer.*drawn at random"),
        ("llama", config(model_type="madeup", architectures=["X"]), "model type `madeup`"),
        ("llama", replaced("config.json", lambda text: text[:40]), "config.json"),
        (
            "llama",
            replaced("model.safetensors", lambda data: data[: len(data) // 2]),
            "model.safetensors is damaged or was cut off",
        ),
        (
            "llama",
            replaced("model.safetensors", lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:a\n"),
            "model.safetensors is a pointer of Git LFS.*git lfs pull",
        ),
        ("llama", pickled_code, "pytorch_model.bin is no pickle of weights alone.*could run code"),
        ("llama", lambda folder: (folder / "model.safetensors").unlink(), "no file named model.safetensors"),
        (
            "llama",
            lambda folder: (folder / "tokenizer.json").write_text("{"),
            r"cannot be loaded: .*\(while its tokenizer was read\)",
        ),
        (
            "llama",
            lambda folder: [path.unlink() for path in folder.glob("*token*")],
            r"the folder has no tokenizer \(tokenizer.json\)",
        ),
    ],
)
def test_what_is_wrong_with_it_is_said_in_one_line(
    good: Callable[[str], Path], shape: str, bend: Bend, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = good(shape)
    bend(folder)
    with pytest.raises(UserError, match=f"--model .*{says}") as error:
        loaded(folder)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().out == "", "nothing that was pickled has run"


@pytest.mark.parametrize("with_model", [True, False])
def test_an_adapter_is_not_passed_over(good: Callable[[str], Path], with_model: bool) -> None:
    """Without peft Hugging Face loads the model below it and says nothing."""
    folder = good("llama")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    if not with_model:
        (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"--model .*adapter_config.json\), which would not be applied; merge"):
        model_folder(str(folder), "", lambda _: None, LoadProgress("", 0, 1))


def test_weights_that_the_model_does_not_use_are_named(good: Callable[[str], Path]) -> None:
    folder = good("llama")
    assert loaded(folder).unused_weights == ()
    weights(biases)(folder)
    assert loaded(folder).unused_weights == tuple(f"model.layers.{layer}.self_attn.q_proj.bias" for layer in range(3))
