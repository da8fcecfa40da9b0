"""Where this process's Hub client looks."""

from __future__ import annotations

from pathlib import Path

import pytest


def reach(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path, *, offline: bool = False) -> None:
    """Points the Hub client of this process at `url` and `cache`: it read the environment when it was imported."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setenv("HF_XET_CACHE", str(cache.parent / "xet"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
