"""Starts the explorer. Kept free of the command-line parser: a bare ``circuit-tui`` comes here directly."""

from __future__ import annotations

from pathlib import Path

from circuit_tui.core.request import OpenRequest
from circuit_tui.core.search.registry import DEFAULT_METHOD, DEFAULT_TARGET
from circuit_tui.tui.commands.boundary import log_path


def open_explorer(
    request: OpenRequest,
    *,
    low_bandwidth: bool = False,
    mouse: bool = True,
    theme: str | None = None,
    out: Path | None = None,
    target: float = DEFAULT_TARGET,
    method: str = DEFAULT_METHOD,
    text: Path | None = None,
) -> int:
    """Runs the explorer until the user leaves it and returns its exit code.

    Raises:
        UserError: no terminal, or no such theme.
    """
    from circuit_tui.tui.app import run_explorer

    return run_explorer(
        request,
        low_bandwidth=low_bandwidth,
        mouse=mouse,
        theme=theme,
        out=out,
        target=target,
        method=method,
        seed=request.seed,
        text=text,
        log_path=log_path(),
        kept=True,
    )
