"""Start the explorer. This module loads no command-line parser: a bare ``circuit-tui`` comes here directly."""

from __future__ import annotations

from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.tui.commands.boundary import log_path
from circuit_tui.tui.explorer_options import ExplorerOptions
from circuit_tui.tui.screen_settings import settings_path


def open_explorer(request: OpenRequest, options: ExplorerOptions | None = None, *, mouse: bool = True) -> int:
    """Run the explorer until the user leaves it, and return its exit code.

    Raises:
        UserError: no terminal, or no such theme.
    """
    from circuit_tui.tui.app import run_explorer

    return run_explorer(
        request, options or ExplorerOptions(), mouse=mouse, log_path=log_path(), autosave=True, settings=settings_path()
    )
