"""Tiny models and SAEs that the engine's tests share, each built once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

# Test modules are imported by file; the oracle and the builders they share are imported by name from here.
sys.path.insert(0, str(Path(__file__).parent))

from tiny.world import World, build_world

# The tensors are tiny: a second thread only waits for the first.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], World]:
    """A function from a shape ("gpt2", "llama", "gemma2", …) to its model with SAEs, opened by the engine."""

    @cache
    def built(shape: str) -> World:
        return build_world(shape, tmp_path_factory.mktemp(shape))

    return built
