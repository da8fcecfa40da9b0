"""The form that picks what to open, as an application of its own. It runs before the explorer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.screen import Screen
from typing_extensions import override

from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.saes.catalogue import ReleaseSummary, catalogue
from circuit_tui.tui.drawing.themes import THEMES, checked_theme
from circuit_tui.tui.resilient_app import ResilientApp
from circuit_tui.tui.screens.open_form import OpenForm


class PickerApp(ResilientApp[OpenRequest]):
    """Shows the form. Its result is the request that was picked, or None if the user left."""

    TITLE = "circuit-tui"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+q", "leave", "Quit", priority=True)]

    def __init__(
        self,
        request: OpenRequest,
        *,
        theme: str | None = None,
        read: Callable[[], tuple[ReleaseSummary, ...]] = catalogue,
    ) -> None:
        super().__init__()
        for each in THEMES.values():
            self.register_theme(each)
        self.theme = checked_theme(theme or "dark")
        self._form = OpenForm(request, self.exit, read=read)

    @override
    def get_default_screen(self) -> Screen[Any]:
        return self._form

    def action_leave(self) -> None:
        if self.screen is self._form:
            self._form.action_leave()
        else:
            self.pop_screen()


def pick(request: OpenRequest, *, theme: str | None, mouse: bool, log_path: Path) -> OpenRequest | None:
    """Show the form in this terminal; returns the request that was picked, or None if the user left."""
    from circuit_tui.tui.terminal import private_terminal, require_terminal

    require_terminal()
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with private_terminal(log_path):
        return PickerApp(request, theme=theme).run(mouse=mouse)
