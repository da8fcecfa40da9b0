"""The question before quitting, asked only if something unsaved would be lost."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Label

from circuit_tui.tui.drawing.line import cut, printable
from circuit_tui.tui.screens.dialog import Dialog

NAMES = 60  # cells for the names of the snapshots
Answer = Literal["quit", "export", "background", "stay"]


class ConfirmQuit(Dialog[Answer]):
    """Lists what would be lost, and asks what to do.

    `size` is the size of a circuit with unsaved changes, None if there are none; `snapshots` are the names of its
    snapshots, which an export keeps.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,y,ctrl+q,ctrl+c", "dismiss('quit')", "Quit", show=False),
        Binding("e", "dismiss('export')", "Export", show=False),
        Binding("b,D", "background", "Leave the search running", show=False),
        Binding("escape,n", "dismiss('stay')", "Stay", show=False),
    ]

    def __init__(self, size: int | None, snapshots: tuple[str, ...] = (), *, searching: bool = False) -> None:
        super().__init__(classes="dialog")
        self._nodes_lost, self._snapshots, self._searching = size, snapshots, searching

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            lost = self._nodes_lost
            yield Label("Quit during a search?" if lost is None else "Quit without exporting?", classes="title")
            if lost is not None:
                nodes = "1 node" if lost == 1 else f"{lost:,} nodes"
                yield Label(f"The circuit ({nodes}) or its audit has changed since it was last exported or opened.")
                if names := self._snapshots:
                    count = "1 snapshot" if len(names) == 1 else f"{len(names)} snapshots"
                    yield Label(printable(f"It has {count}: {cut(', '.join(names), NAMES)}"), markup=False)
            if self._searching:
                yield Label("A search is under way. It can go on in the background.")
            export = "" if lost is None else "   [b]e[/b] export first"
            background = "   [b]b[/b] leave it running" if self._searching else ""
            yield Label(f"[b]q[/b] quit{export}{background}   [b]esc[/b] stay", classes="hint")

    def action_background(self) -> None:
        if self._searching:
            self.dismiss("background")
