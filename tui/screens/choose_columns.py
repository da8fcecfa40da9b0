"""A dialog that shows and hides columns of the circuit table."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.strip import Strip

from circuit_tui.tui.circuit_columns import COLUMNS, Column
from circuit_tui.tui.drawing.line import StyledLine
from circuit_tui.tui.screens.dialog import Dialog
from circuit_tui.tui.widgets.line_list import LineList

NAME_WIDTH = 12


class ColumnList(LineList):
    """One line for each column: whether it is shown, its name, what it holds. `flip` shows or hides a column."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("space,enter", "flip", show=False)]

    def __init__(self, shown: set[Column], seen: frozenset[Column], flip: Callable[[Column], None]) -> None:
        super().__init__(id="column-list")
        self._columns = [column for column in COLUMNS if column != "latent"]
        self._shown, self._seen, self._flip = shown, seen, flip

    def on_mount(self) -> None:
        self.set_length(len(self._columns))

    def line(self, index: int, width: int) -> Strip:
        column, pane_styles = self._columns[index], self.pane_styles
        shown = column in self._shown
        line = StyledLine().add(" ● " if shown else " ○ ", pane_styles.good if shown else pane_styles.muted)
        line.left(column, NAME_WIDTH, pane_styles.strong if shown else pane_styles.plain)
        line.add(COLUMNS[column].about, pane_styles.muted)
        return line.add("  (no room)" if shown and column not in self._seen else "", pane_styles.warn).strip()

    def action_flip(self) -> None:
        column = self._columns[self.cursor]
        self._shown ^= {column}
        self._flip(column)
        self.refresh_line(self.cursor)

    def on_click(self, event: events.Click) -> None:
        event.prevent_default()  # one click is enough here
        if event.y < len(self._columns):
            self.move_cursor(event.y)
            self.action_flip()


class ChooseColumns(Dialog[None]):
    """Shows and hides columns while it is open.

    Args:
        shown: the columns that are wanted.
        seen: those for which there is room.
        choose: called with a column and whether it is wanted now.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,C", "dismiss(None)", "Close", show=False)]

    def __init__(self, shown: set[Column], seen: frozenset[Column], choose: Callable[[Column, bool], None]) -> None:
        super().__init__(classes="dialog")
        self._shown, self._seen, self._choose = shown, seen, choose

    def compose(self) -> ComposeResult:
        with Vertical(classes="box", id="columns-box") as box:
            box.border_title = "Columns of the circuit"
            box.border_subtitle = "space shows or hides   esc closes"
            yield ColumnList(self._shown, self._seen, lambda column: self._choose(column, column in self._shown))
