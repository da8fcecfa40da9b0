"""A dialog with one line to type in."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Label

from circuit_tui.tui.screens.dialog import Dialog
from circuit_tui.tui.widgets.line_input import LineInput


class AskText(Dialog[str | None]):
    """Asks for one line. Its result is the text, or None if it is empty or the user cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel", show=False)]

    def __init__(self, title: str, value: str, hint: str) -> None:
        super().__init__(classes="dialog")
        self._title, self._value, self._hint = title, value, hint

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(self._title, classes="title", markup=False)
            yield LineInput(self._value, compact=False, select_on_focus=True)
            yield Label(self._hint, classes="hint", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip() or None)
