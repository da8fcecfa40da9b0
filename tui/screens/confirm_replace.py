"""The question before an export replaces a file that circuit-tui did not write."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Label

from circuit_tui.tui.drawing.line import printable
from circuit_tui.tui.screens.dialog import Dialog


class ConfirmReplace(Dialog[bool]):
    """Asks whether the file at `path` may be replaced. Its result is whether it may."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r,y", "dismiss(True)", "Replace", show=False),
        Binding("escape,n,q", "dismiss(False)", "Keep", show=False),
    ]

    def __init__(self, path: Path) -> None:
        super().__init__(classes="dialog")
        self._path = path

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label("Replace this file?", classes="title")
            yield Label(printable(str(self._path)), markup=False)
            yield Label("circuit-tui did not write it, and what it holds would be lost.")
            yield Label("[b]r[/b] replace it   [b]esc[/b] keep it", classes="hint")
