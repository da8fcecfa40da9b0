"""The options of the explorer: how it looks, and what its search form starts with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from circuit_tui.core.search.registry import DEFAULT_METHOD, DEFAULT_TARGET


@dataclass(frozen=True, slots=True)
class ExplorerOptions:
    """The defaults are those of a bare ``circuit-tui``.

    Without a `theme` it is the dark one, or the terminal's own colours where fewer bytes or no colours are wanted.
    `out` is the path that an export proposes; `force` lets it replace any file there. `text` is the file on which
    audits measure what the SAEs cost.
    """

    low_bandwidth: bool = False
    theme: str | None = None
    out: Path | None = None
    target: float = DEFAULT_TARGET
    method: str = DEFAULT_METHOD
    seed: int = 0
    text: Path | None = None
    force: bool = False
