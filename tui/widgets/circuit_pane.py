"""The circuit pane: the names of the columns, the table, and a line to filter by typing."""

from __future__ import annotations

from collections.abc import Mapping

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.strip import Strip
from textual.widgets import Input

from circuit_tui.core.latents.views import LatentColumns
from circuit_tui.core.views import CircuitView, NodeTable
from circuit_tui.tui.circuit_columns import COLUMNS, LATENT_CELLS, Column, column_widths
from circuit_tui.tui.circuit_rows import CircuitRows
from circuit_tui.tui.drawing.line import StyledLine, cut, plain
from circuit_tui.tui.drawing.number_text import amount, percent
from circuit_tui.tui.widgets.circuit_table import CircuitTable, heading
from circuit_tui.tui.widgets.line_input import LineInput
from circuit_tui.tui.widgets.lines_view import LinesView


class CircuitHeading(LinesView):
    """The names of the columns; the one that sorts the table is marked."""

    def __init__(self, table: CircuitTable) -> None:
        super().__init__(id="circuit-heading")
        self._table = table

    def _widths(self, width: int) -> dict[Column, int]:
        model = self._table.model
        columns = model.columns if model else tuple(COLUMNS)
        return column_widths(width, columns, model.latent_cells if model else LATENT_CELLS)

    def build(self, width: int) -> list[Strip]:
        model = self._table.model
        sort, reverse = (model.sort, model.reverse) if model else ("latent", False)
        return [heading(self._widths(width), sort, reverse, self.pane_styles)]

    def on_click(self, event: events.Click) -> None:
        """Sort by the column that was clicked; if it sorts already, the other way round."""
        model, start = self._table.model, 0
        for column, cells in self._widths(self.scrollable_content_region.width).items() if model else ():
            if start <= event.x < start + cells:
                self._table.sort_by(column)
            start += cells


class FilterNote(LinesView):
    """What the filter finds, what is wrong with it, or that tokens are still being searched; not seen without one."""

    def __init__(self, table: CircuitTable) -> None:
        super().__init__(id="filter-note")
        self._table = table
        self.display = False

    def look(self) -> None:
        """Show what there is to say now."""
        text = _filter_note(self._table.model)
        self.display = bool(text)
        self.rebuild()

    def build(self, width: int) -> list[Strip]:
        model = self._table.model
        style = self.pane_styles.bad if model and model.filter_error else self.pane_styles.muted
        return [StyledLine().add(f" {cut(_filter_note(model), width - 2)}", style).strip()]


def _filter_note(model: CircuitRows | None) -> str:
    if model is None or model.filter_error:
        return "" if model is None else model.filter_error
    if not model.filter:
        return ""
    found = f"{amount(model.n_shown, 'kept node' if not model.show_all else 'node')} found"
    columns = model.latent_columns
    if not model.seeks_tokens or columns is None or columns.complete:
        return found
    return f"{found}; {percent(columns.tokens_done / columns.n_latents)} of promoted tokens searched, more may match"


class FilterInput(LineInput):
    """Filters the table by what is typed. Enter and escape go back to the table."""

    def __init__(self) -> None:
        super().__init__(placeholder="words, or terms such as effect>0.02 pos=end on", id="filter")
        self.display = False


class CircuitPane(Vertical):
    """The heading, the table and the filter."""

    def __init__(self) -> None:
        super().__init__(id="circuit", classes="pane")
        self.border_title = "Circuit"
        self.table = CircuitTable()

    def compose(self) -> ComposeResult:
        yield CircuitHeading(self.table)
        yield self.table
        yield FilterNote(self.table)
        yield FilterInput()

    def set_table(self, table: NodeTable) -> None:
        """Take the candidate nodes of a newly opened session."""
        self.table.set_table(table)

    def show(self, circuit: CircuitView, *, whole: bool) -> None:
        """Show `circuit`, which replaced the one before as a `whole` or was edited."""
        self.table.set_circuit(circuit, whole=whole)
        self.border_subtitle = plain(self.summary())

    def show_latent_columns(self, columns: LatentColumns) -> None:
        """Show push and tokens as far as they are computed."""
        self.table.set_latent_columns(columns)
        self.query_one(FilterNote).look()
        self.border_subtitle = plain(self.summary())

    def show_shares(self, shares: Mapping[int, float]) -> None:
        """Show how many of an audit's searches chose each node."""
        self.table.set_shares(shares)

    def summary(self) -> str:
        """What is listed: ``kept: 12 nodes``; empty before a session is open."""
        model = self.table.model
        if model is None:
            return ""
        found = f" matching “{model.filter}”" if model.filter else ""
        return f"{'all' if model.show_all else 'kept'}{found}: {amount(model.n_shown, 'node')}"

    def open_filter(self) -> None:
        """Show the filter line and put the cursor in it."""
        field = self.query_one(FilterInput)
        field.display = True
        self.screen.set_focus(field)  # at once, because the next key may be waiting

    def close_filter(self, *, clear: bool) -> None:
        """Go back to the table; `clear` clears the filter."""
        field = self.query_one(FilterInput)
        if clear:
            field.value = ""
            self.table.relist(filter="")
        field.display = bool(field.value)
        self.table.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.table.model is not None and event.value != self.table.model.filter:
            self.table.relist(filter=event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.close_filter(clear=False)

    def on_circuit_table_listed(self) -> None:
        self.query_one(CircuitHeading).rebuild()
        self.query_one(FilterNote).look()
        field, model = self.query_one(FilterInput), self.table.model
        if model is not None and model.filter != field.value and not field.has_focus:
            field.value = model.filter
            field.display = bool(model.filter)
        self.border_subtitle = plain(self.summary())
