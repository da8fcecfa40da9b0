"""Bad devices, dtypes and model folders: each a UserError whose text names the thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny.models import make_model
from tiny.models_with_saes import CPU

from circuit_tui.core.errors import UserError
from circuit_tui.core.models.devices import pick_device, pick_dtype
from circuit_tui.core.models.load_model import load_model
from circuit_tui.core.models.model_files import model_folder
from circuit_tui.core.views import LoadProgress


def one_line(error: pytest.ExceptionInfo[UserError], *names: object) -> None:
    text = str(error.value)
    assert "\n" not in text
    for name in names:
        assert str(name) in text


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "meta", ""])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(UserError) as error:
        pick_device(name)
    one_line(error, f"--device {name}", "use cpu, cuda, cuda:N or mps")


@pytest.mark.parametrize("name", ["cuda", "cuda:3"])
def test_no_cuda(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError) as error:
        pick_device(name)
    one_line(error, f"--device {name}", "no CUDA on this machine; use --device cpu")


def test_a_cuda_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    assert pick_device(None).type == "cuda"
    with pytest.raises(UserError) as error:
        pick_device("cuda:2")
    one_line(error, "--device cuda:2", "2 CUDA devices")


def test_no_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device mps: no MPS"):
        pick_device("mps")


def test_dtypes() -> None:
    assert pick_dtype(None) == torch.float32
    assert pick_dtype("bfloat16") == torch.bfloat16
    with pytest.raises(UserError) as error:
        pick_dtype("int8")
    one_line(error, "--dtype int8", "float32, bfloat16, float16")


def find(name: str) -> None:
    model_folder(name, None, lambda _: None, LoadProgress("loading model", 0, 1))


def test_a_model_folder_that_is_missing_or_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        find(str(tmp_path / "no"))
    one_line(error, f"--model {tmp_path}/no", "no such folder")
    with pytest.raises(UserError) as error:
        find(str(tmp_path))
    one_line(error, f"--model {tmp_path}", "no config.json")


@pytest.mark.parametrize("damage", ["config", "no weights", "weights", "tokenizer", "architecture"])
def test_a_damaged_model_folder(damage: str, tmp_path: Path) -> None:
    make_model("gpt2", tmp_path)
    weights = tmp_path / "model.safetensors"
    if damage == "config":
        (tmp_path / "config.json").write_text("{")
    elif damage == "no weights":
        weights.unlink()
    elif damage == "weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "tokenizer":
        (tmp_path / "tokenizer.json").unlink()
    else:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "bertolt", "architectures": ["BertoltLM"]}))
    with pytest.raises(UserError) as error:
        load_model(str(tmp_path), CPU, torch.float32)
    one_line(error, f"--model {tmp_path}: cannot be loaded")


@pytest.mark.parametrize("name", ["./there", "~/there", "a/b/c", "what is this"])
def test_what_cannot_be_a_hub_name_is_a_missing_folder(name: str) -> None:
    with pytest.raises(UserError, match="no such folder"):
        find(name)


def test_a_model_that_also_sees_is_opened_for_its_text_and_nothing_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    from transformers import AutoProcessor

    asked: list[object] = []
    monkeypatch.setattr(subprocess, "check_call", lambda *args, **_: asked.append(args))
    before = AutoProcessor.__dict__["from_pretrained"]
    folder = make_model("gemma3-sighted", tmp_path)
    model = load_model(str(folder), CPU, torch.float32)
    assert not asked
    assert AutoProcessor.__dict__["from_pretrained"] is before
    tokens = torch.arange(3, 19).reshape(2, 8)
    assert model.verify(tokens, torch.tensor([7, 5])) < 1e-5
    assert model.n_layers == 3
