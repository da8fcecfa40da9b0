"""The bundled SAEs and text, for the rest of the program. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from circuit_tui.core import demo
from circuit_tui.core.errors import UserError

BUNDLED_HOOKS = demo.SITES
"""The hooks at which the bundled model has an SAE."""


def bundled_text() -> Path:
    """Returns the path of a text in the demo's language that no training has seen."""
    return demo.text_path()


def bundled_sae(hook: str) -> Path:
    """Returns the folder of the bundled SAE at `hook`.

    Raises:
        UserError: the bundled model has none there.
    """
    for folder in demo.sae_dirs():
        if folder.name == hook:
            return folder
    raise UserError(f"circuit: the bundled model has no SAE at {hook}")
