"""A Hub on this machine, and a cache of its own for each test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

# Test modules are imported by file; what they share is imported by name from here and from the engine's tests.
for _folder in (Path(__file__).parents[1] / "core", Path(__file__).parent):
    sys.path.insert(0, str(_folder))

from reach import reach  # noqa: E402 found by the lines above
from server import Hub  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def shared_hub() -> Iterator[Hub]:
    """One server for all tests of a module."""
    hub = Hub()
    yield hub
    hub.stop()


@pytest.fixture
def hub(shared_hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """The server, with this process's Hub client pointed at it and at an empty cache."""
    reach(monkeypatch, shared_hub.url, tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "packaged"))
    # The client does not wait before it tries a broken connection again.
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda seconds: None))
    shared_hub.heal()
    shared_hub.repos.clear()
    return shared_hub
