"""How the explorer is to look and what its search form begins with, from the command line to the panes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from circuit_tui.core.search.registry import DEFAULT_METHOD, DEFAULT_TARGET


@dataclass(frozen=True, slots=True)
class ExplorerOptions:
    """The defaults are those of a bare ``circuit-tui``.

    `theme` None is the dark one, or the terminal's own colours where fewer bytes or no colours are wanted. `out` is
    where an export goes if the user does not say otherwise; `text` is what audits price the SAEs on.
    """

    low_bandwidth: bool = False
    theme: str | None = None
    out: Path | None = None
    target: float = DEFAULT_TARGET
    method: str = DEFAULT_METHOD
    seed: int = 0
    text: Path | None = None
