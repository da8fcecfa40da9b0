"""The training script, for one step: it writes the files that the package bundles, the same for the same seed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from circuit_tui.core.demo import model_dir, sae_dirs, train
from circuit_tui.core.demo.train_model import train_model


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the script runs, which rounds as it does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_the_script_writes_the_bundled_files_and_is_seeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--out", str(tmp_path), "--model-steps", "1", "--sae-steps", "1"])
    train.main()
    written = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    bundled = {file for folder in (model_dir(), *sae_dirs()) for file in folder.rglob("*") if file.is_file()}
    assert written == {str(file.relative_to(model_dir().parent)) for file in bundled}

    again, other = train_model(seed=0, steps=1).state_dict(), train_model(seed=1, steps=1).state_dict()
    for name, weight in load_file(tmp_path / "model" / "model.safetensors").items():
        assert torch.equal(weight, again[name]), name
    assert not torch.allclose(again["transformer.wte.weight"], other["transformer.wte.weight"], atol=1e-3)
