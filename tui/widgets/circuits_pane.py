"""The circuits pane: what the searches of this session found, and the circuit files at hand, with their numbers."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.strip import Strip
from typing_extensions import override

from circuit_tui.core.errors import UserError
from circuit_tui.core.views import CircuitView, NodeTable, SearchResult
from circuit_tui.tui.drawing.line import StyledLine, cut_middle, plain, printable, wrap
from circuit_tui.tui.drawing.number_text import amount, count, fixed
from circuit_tui.tui.engine.messages import Notice
from circuit_tui.tui.engine.state import EngineState
from circuit_tui.tui.widgets.circuit_difference import CircuitDifference
from circuit_tui.tui.widgets.line_list import LineList
from circuit_tui.tui.widgets.list_heading import ListHeading

if TYPE_CHECKING:
    from circuit_tui.core.circuits.circuit_list import CircuitList, CircuitRow
    from circuit_tui.core.circuits.compare_circuits import ComparedCircuit
    from circuit_tui.core.outputs.table import Table

INTERVAL_FROM, TASK_FROM, MODEL_FROM = 96, 116, 140  # cells of a line in which there is room for one more column
JOB_FILE = "circuit.json"  # what a search in the background leaves, in a folder with the job's name


class CircuitFiles(LineList):
    """One line for each circuit, those of this session first. Enter loads it, `mark` chooses one to compare with."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "choose", show=False)]

    class Chosen(Message):
        """The circuit of this row is wanted."""

        def __init__(self, row: CircuitRow) -> None:
            super().__init__()
            self.row = row

    def __init__(self) -> None:
        super().__init__(id="circuit-files")
        self.rows: tuple[CircuitRow, ...] = ()
        self.marked: CircuitRow | None = None
        self.here: tuple[str, str] = ("", "")
        self.scanned = False

    def show(self, rows: tuple[CircuitRow, ...]) -> None:
        """Show `rows`; the cursor stays on its circuit."""
        if rows != self.rows:
            current = self.current
            self.rows = rows
            at = next((i for i, row in enumerate(rows) if current and _key(row) == _key(current)), self.cursor)
            self.set_length(len(rows), at)

    @property
    def current(self) -> CircuitRow | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.cursor < len(self.rows) else None

    @override
    def chosen(self) -> None:
        if self.current is not None:
            self.post_message(self.Chosen(self.current))

    @override
    def empty_lines(self, width: int) -> list[Strip]:
        styles = self.pane_styles
        if not self.scanned:
            return [StyledLine().add(" looking for circuit files …", styles.muted).strip()]
        about = f"No search has ended here yet, and no circuit file lies in {Path.cwd()}."
        lines = [StyledLine().add(f" {line}", styles.muted).strip() for line in wrap(printable(about), width - 2)]
        keys = StyledLine().add(" s", styles.key).add(" starts a search   ", styles.muted)
        return [Strip.blank(1), *lines, Strip.blank(1), keys.add("e", styles.key).add(" exports", styles.muted).strip()]

    def heading(self, width: int) -> Strip:
        """The names of the columns."""
        head = self.pane_styles.head
        line = StyledLine().left("  circuit", self._name_width(width), head).left("found by", 11, head)
        for name, cells in (("target", 7), ("seed", 5), ("nodes", 7), ("train", 7), ("held-out", 9)):
            line.right(name, cells, head)
        if width >= INTERVAL_FROM:
            line.right("95% CI", 14, head)
        line.right("KL", 7, head).right("acc.", 6, head)
        if width >= TASK_FROM:
            line.add("  ").left("task", 18, head)
        return (line.left("model", 20, head) if width >= MODEL_FROM else line).strip()

    def _name_width(self, width: int) -> int:
        wide = (INTERVAL_FROM, 14), (TASK_FROM, 20), (MODEL_FROM, 20)
        return max(10, width - 60 - sum(cells for start, cells in wide if width >= start))

    @override
    def line(self, index: int, width: int) -> Strip:
        row, styles = self.rows[index], self.pane_styles
        line = StyledLine().add("* " if row is self.marked else "  ", styles.warn)
        here = (row.model, row.task) == self.here
        room = self._name_width(width)
        line.left(cut_middle(printable(name_of_row(row)), room - 3), room - 2, styles.strong if here else styles.muted)
        line.left(f"{row.method}{' +edits' if row.edited else ''}", 11)
        line.right("–" if row.target is None else f"{row.target:g}", 7, styles.muted).right(str(row.seed), 5)
        line.right(count(row.size), 7, styles.strong).right(fixed(row.train), 7)
        line.right(fixed(row.test), 9, styles.strong)
        if width >= INTERVAL_FROM:
            ends = "–" if row.interval is None else f"{fixed(row.interval[0])}–{fixed(row.interval[1])}"
            line.right(ends, 14, styles.muted)
        line.right(fixed(row.kl), 7).right(f"{row.accuracy:.0%}", 6)
        if width >= TASK_FROM:
            line.add("  ").left(printable(row.task), 18, styles.muted)
        return (line.left(printable(row.model), 20, styles.muted) if width >= MODEL_FROM else line).strip()


class CircuitsPane(Vertical):
    """The list, and below it how two of the circuits differ, once that is asked for."""

    class Scanned(Message):
        """The files have been looked through."""

        def __init__(self, found: CircuitList) -> None:
            super().__init__()
            self.found = found

    def __init__(self) -> None:
        super().__init__(id="circuits", classes="pane")
        self.border_title = "Circuits"
        self.files, self.difference = CircuitFiles(), CircuitDifference()
        self._in_files: tuple[CircuitRow, ...] = ()
        self._past: tuple[SearchResult, ...] = ()
        self._circuit: CircuitView | None = None
        self._table: NodeTable | None = None
        self._subject: Mapping[str, Any] = {}
        self._scanning = False
        self._told: tuple[str, ...] = ()

    def compose(self) -> ComposeResult:
        yield ListHeading(self.files, id="circuits-heading")
        yield self.files
        yield self.difference

    def on_resize(self, event: events.Resize) -> None:
        self.query_one(ListHeading).rebuild()

    def show(self, state: EngineState) -> None:
        """Take what the session of `state` has found."""
        self._circuit, self._table, self._subject = state.circuit, state.table, state.fingerprint
        here = str(self._subject.get("model")), str(self._subject.get("task"))
        if state.past is self._past and here == self.files.here:
            return
        self._past, self.files.here = state.past, here
        if self.files.scanned or state.past:
            self._list()

    def scan(self, places: Sequence[Path]) -> None:
        """Look through `places` for circuit files, in a thread of its own: reading many takes a while."""
        if not self._scanning:
            self._scanning = True
            threading.Thread(target=self._read, args=(tuple(places),), name="circuit files", daemon=True).start()

    def _read(self, places: tuple[Path, ...]) -> None:
        from circuit_tui.core.circuits.circuit_list import CircuitList, list_circuits

        try:
            found = list_circuits(places)
        except Exception as error:  # noqa: BLE001 a thread's error would be lost
            found = CircuitList((), (str(error),))
        self.post_message(self.Scanned(found))

    def on_circuits_pane_scanned(self, event: Scanned) -> None:
        event.stop()
        self._scanning, self.files.scanned = False, True
        self._in_files = event.found.rows
        if event.found.damaged and event.found.damaged != self._told:
            self._told = event.found.damaged
            more = f" (and {len(self._told) - 1} more)" if len(self._told) > 1 else ""
            self.post_message(Notice(f"left out: {self._told[0]}{more}", "warning"))
        self._list()

    def _list(self) -> None:
        from circuit_tui.core.circuits.circuit_list import CircuitRow  # pydantic: not before the first frame

        here = self.files.here
        searches = [CircuitRow.of_search(result, number, *here) for number, result in enumerate(self._past, 1)]
        self.files.show((*reversed(searches), *self._in_files))
        self.files.refresh()
        parts = amount(len(searches), "search", "searches"), amount(len(self._in_files), "file")
        self.border_subtitle = plain(", ".join(parts))

    def result(self, row: CircuitRow) -> SearchResult | None:
        """What the search of a row found; None for the row of a file."""
        return self._past[int(row.name.removeprefix("search ")) - 1] if row.path is None else None

    def mark(self) -> None:
        """Mark the circuit under the cursor as the one to compare with, or take the mark away."""
        current = self.files.current
        self.files.marked = None if current is self.files.marked else current
        self.files.refresh()

    def compare(self) -> None:
        """Show how the circuit under the cursor differs from the marked one, or from the current one."""
        from circuit_tui.core.circuits.compare_circuits import compare_circuits

        row, other = self.files.current, self.files.marked
        if row is None or self._circuit is None:
            self.post_message(Notice("There is no circuit to compare with yet.", "warning"))
            return
        try:
            first = self._side(None if other is row else other)
            self.difference.show(compare_circuits(first, self._side(row)))
        except UserError as error:
            self.post_message(Notice(str(error), "error"))

    def _side(self, row: CircuitRow | None) -> ComparedCircuit:
        """One side of a comparison; None is the current circuit. Raises UserError if its file cannot be read."""
        from circuit_tui.core.circuits.circuit_file import read_circuit
        from circuit_tui.core.circuits.compare_circuits import ComparedCircuit

        assert self._circuit is not None
        assert self._table is not None
        if row is None:
            return ComparedCircuit.of_view(self._circuit, "the current circuit", self._table, self._subject)
        if row.path is not None:
            return ComparedCircuit.of_file(read_circuit(row.path), name_of_row(row))
        result = self.result(row)
        assert result is not None
        return ComparedCircuit.of_search(result, row.name, self._table, self._subject)

    def as_table(self) -> Table:
        """The list as a table."""
        from circuit_tui.core.outputs.circuits_table import circuits_table

        return circuits_table(self.files.rows)


def name_of_row(row: CircuitRow) -> str:
    """The name of a circuit; that of a search in the background is its job's."""
    return row.path.parent.name if row.path is not None and row.path.name == JOB_FILE else row.name


def _key(row: CircuitRow) -> object:
    return row.path or row.name
