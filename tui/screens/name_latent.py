"""A dialog that names a latent and takes a note on it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Label

from circuit_tui.tui.screens.dialog import Dialog
from circuit_tui.tui.widgets.line_input import LineInput


class NameLatent(Dialog[tuple[str, str] | None]):
    """Asks for a label and a note. Its result is both, stripped, or None if the user cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel", show=False)]

    def __init__(self, title: str, label: str, note: str) -> None:
        super().__init__(classes="dialog")
        self._title, self._label, self._note = title, label, note

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(self._title, classes="title", markup=False)
            yield LineInput(self._label, placeholder="label", compact=False, select_on_focus=True, id="label")
            yield LineInput(self._note, placeholder="note", compact=False, id="note")
            yield Label("enter saves both   tab next field   esc cancels; an empty one is taken away", classes="hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        label, note = (self.query_one(f"#{name}", LineInput).value.strip() for name in ("label", "note"))
        self.dismiss((label, note))
