"""The question before quitting or opening something else, asked only if something unsaved would be lost."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Label

from circuit_tui.tui.drawing.line import cut, printable
from circuit_tui.tui.screens.dialog import Dialog

WIDEST = 66  # cells of a line; snapshots may have many names
Answer = Literal["quit", "export", "background", "stay"]


class ConfirmQuit(Dialog[Answer]):
    """Lists what would be lost, and asks what to do.

    `lost` has a line for each thing that an export would keep; it is empty if there is nothing unsaved. `opening` asks
    before something else is opened, not before quitting.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,y,ctrl+q,ctrl+c", "dismiss('quit')", "Quit", show=False),
        Binding("e", "dismiss('export')", "Export", show=False),
        Binding("b,D", "background", "Leave the search running", show=False),
        Binding("escape,n", "dismiss('stay')", "Stay", show=False),
    ]

    def __init__(self, lost: tuple[str, ...], *, searching: bool = False, opening: bool = False) -> None:
        super().__init__(classes="dialog")
        self._lost, self._searching, self._opening = lost, searching, opening

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            lost = self._lost
            what = "Open something else" if self._opening else "Quit"
            yield Label(f"{what} without exporting?" if lost else f"{what} during a search?", classes="title")
            if lost:
                yield Label("Changed since the last export or opening:")
            for part in lost:
                yield Label(cut(printable(f"  {part}"), WIDEST), markup=False)
            if self._searching:
                yield Label("A search is under way. It can go on in the background.")
            export = "   [b]e[/b] export first" if lost else ""
            background = "   [b]b[/b] leave it running" if self._searching else ""
            leave = "[b]y[/b] open" if self._opening else "[b]q[/b] quit"
            yield Label(f"{leave}{export}{background}   [b]esc[/b] stay", classes="hint")

    def action_background(self) -> None:
        if self._searching:
            self.dismiss("background")
