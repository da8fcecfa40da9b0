"""The dialog that asks where to write something, and says what the name that is typed will hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Label

from circuit_tui.tui.drawing.line import printable
from circuit_tui.tui.engine.commands import ExportCommand
from circuit_tui.tui.screens.ask_text import AskText
from circuit_tui.tui.widgets.line_input import LineInput


@dataclass(frozen=True, slots=True)
class ExportOffer:
    """One thing that can be written.

    `name` is the file that is proposed, and names with its `ending` ask for it. `what` says what is written, `command`
    makes the engine's command of a path.
    """

    name: str
    ending: str
    what: str
    command: Callable[[Path], ExportCommand]


class ExportTo(AskText):
    """Asks for a path. The first of `offers` is proposed, and is what any name gets that has no other's ending."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel", show=False),
        Binding("tab", "propose(1)", "Another form", show=False),
        Binding("shift+tab", "propose(-1)", "The form before", show=False),
    ]

    def __init__(self, offers: tuple[ExportOffer, ...]) -> None:
        super().__init__("Export to", offers[0].name, "enter writes the file   tab another form   esc cancels")
        self._offers = offers

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(self._title, classes="title", markup=False)
            yield LineInput(self._value, compact=False, select_on_focus=True)
            yield Label(self._says(self._value), id="what", markup=False)
            yield Label(self._hint, classes="hint", markup=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        self.query_one("#what", Label).update(self._says(event.value))

    def _says(self, name: str) -> str:
        return printable(offered(self._offers, name).what)

    def action_propose(self, step: int) -> None:
        """Write the name of the next offer into the field."""
        field = self.query_one(LineInput)
        at = self._offers.index(offered(self._offers, field.value)) + step
        field.value = self._offers[at % len(self._offers)].name
        field.action_select_all()


def offered(offers: tuple[ExportOffer, ...], name: str) -> ExportOffer:
    """The offer that a file's name asks for; the longest ending decides."""
    fitting = [offer for offer in offers[1:] if name.strip().lower().endswith(offer.ending)]
    return max(fitting, key=lambda offer: len(offer.ending), default=offers[0])
