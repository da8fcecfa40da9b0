"""The folders of ``examples/``, which lie beside the package in a clone and in an installation alike."""

from __future__ import annotations

from pathlib import Path

_EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def example_dir(name: str) -> Path:
    """Returns the folder ``examples/NAME``."""
    return _EXAMPLES / name
