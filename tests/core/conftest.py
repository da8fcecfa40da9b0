"""Tiny models and SAEs that the engine's tests share, each built once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

# Test modules are imported by file; the oracle and the builders they share are imported by name from here.
sys.path.insert(0, str(Path(__file__).parent))

from tiny.models_with_saes import TinyModel, build_model
from tiny.sessions import request, write_prompts
from tiny.solvable_task import solvable_task

from circuit_tui.core.opening.request import OpenRequest

# The tensors are tiny: a second thread only waits for the first.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TinyModel]:
    """A function from a shape ("gpt2", "llama", "gemma2", …) to its model with SAEs, opened by the engine."""

    @cache
    def built(shape: str) -> TinyModel:
        return build_model(shape, tmp_path_factory.mktemp(shape))

    return built


@pytest.fixture(scope="session")
def solvable_flags(tiny_model: Callable[[str], TinyModel], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flags that name a tiny model, its SAEs and a task it can do."""
    made = tiny_model("gpt2")
    prompts = write_prompts(solvable_task(made, (6,) * 12, (6,) * 7), tmp_path_factory.mktemp("task") / "able.jsonl")
    folders = [part for folder in made.sae_folders for part in ("--sae-dir", str(folder))]
    return ["--model", str(made.folder), *folders, "--prompts", str(prompts), "--errors", "keep", "--device", "cpu"]


@pytest.fixture
def solvable_request(tiny_model: Callable[[str], TinyModel], tmp_path: Path) -> Callable[..., OpenRequest]:
    """A function from a shape and changes to a request for a task that its model can do."""

    def ask(shape: str, **changes: Any) -> OpenRequest:
        tiny = tiny_model(shape)
        prompts = write_prompts(solvable_task(tiny, (6,) * 8, (6,) * 5), tmp_path / f"{shape}.jsonl")
        return request(tiny, prompts, **{"errors": "keep", **changes})

    return ask
