"""What the screens need of the application that shows them: with this, no screen imports the application."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from circuit_tui.tui.engine.engine import Engine
    from circuit_tui.tui.screen_settings import ScreenSettings


class Explorer(Protocol):
    """The explorer as its screens see it.

    `state_folder` takes small files that outlive it; `bytes_written` is how much has gone to the terminal.
    """

    engine: Engine
    screen_settings: ScreenSettings
    state_folder: Path
    bytes_written: Callable[[], int]

    def begin(self) -> None:
        """Open the session, after a question about work that was cut off, if there is any."""

    def begin_anew(self) -> None:
        """Show the session that has just been opened on a fresh screen."""

    def open_another(self, circuit: Path | None = None) -> None:
        """Ask what to open in place of what is open, after a question about unsaved work; `circuit` is proposed."""

    def action_leave(self) -> None:
        """Quit; ask first if something unsaved would be lost."""

    def remember(self, settings: ScreenSettings) -> None:
        """Keep the user's choices for the next start."""

    def next_theme(self) -> None:
        """Switch to the next theme."""

    def show_jobs(self) -> None:
        """Show the searches in the background and those that were cut off."""

    def leave_search_running(self) -> None:
        """Quit, and let the search go on in a process of its own."""
