"""Asked before quitting, and only if something unsaved would be lost."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Label

Answer = Literal["quit", "export", "stay"]


class ConfirmQuit(ModalScreen[Answer]):
    """Dismissed with what to do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,y,ctrl+q,ctrl+c", "dismiss('quit')", "Quit", show=False),
        Binding("e", "dismiss('export')", "Export", show=False),
        Binding("escape,n", "dismiss('stay')", "Stay", show=False),
    ]

    def __init__(self, size: int) -> None:
        super().__init__(classes="dialog")
        self._nodes_lost = size

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label("Quit without exporting?", classes="title")
            nodes = "1 node" if self._nodes_lost == 1 else f"{self._nodes_lost:,} nodes"
            yield Label(f"The circuit ({nodes}) has changed since it was last exported or opened.")
            yield Label("[b]q[/b] quit   [b]e[/b] export first   [b]esc[/b] stay", classes="hint")
