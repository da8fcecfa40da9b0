"""The training script, for a few steps: it writes the files that the package bundles, the same for the same seed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from circuit_tui.core.demo import model_dir, sae_dirs
from circuit_tui.core.demo.train_model import train_model


@pytest.mark.slow
def test_the_script_writes_the_bundled_files_and_is_seeded(tmp_path: Path) -> None:
    program = ["-m", "circuit_tui.core.demo.train", "--out", str(tmp_path), "--model-steps", "2", "--sae-steps", "2"]
    subprocess.run([sys.executable, *program], check=True, capture_output=True)
    written = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    bundled = {file for folder in (model_dir(), *sae_dirs()) for file in folder.rglob("*") if file.is_file()}
    assert written == {str(file.relative_to(model_dir().parent)) for file in bundled}

    again, other = train_model(seed=0, steps=2).state_dict(), train_model(seed=1, steps=2).state_dict()
    for name, weight in load_file(tmp_path / "model" / "model.safetensors").items():
        # Not to the bit: the script may run with another number of threads than this process.
        assert torch.allclose(weight, again[name], atol=1e-5)
    assert not torch.allclose(again["transformer.wte.weight"], other["transformer.wte.weight"], atol=1e-3)
