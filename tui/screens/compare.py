"""A dialog that compares the current circuit with one of its named snapshots."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.strip import Strip

from circuit_tui.core.views import NodeTable, SnapshotComparison
from circuit_tui.tui.drawing.line import StyledLine, cut, printable, side_by_side, widest
from circuit_tui.tui.drawing.number_text import count, fixed, percent, signed
from circuit_tui.tui.screens.dialog import Dialog
from circuit_tui.tui.widgets.line_list import LineList
from circuit_tui.tui.widgets.lines_view import ScrollingLines

NUMBERS = (
    ("faithfulness", "faithfulness", 3),
    ("vs M_s", "faithfulness_spliced", 3),
    ("completeness", "completeness", 3),
    ("KL nats", "kl", 3),
    ("logit difference", "logit_diff", 2),
)


class SnapshotList(LineList):
    """The names of the snapshots."""

    class Moved(Message):
        """The cursor is on another name."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(id="snapshot-list")
        self.names = names

    def on_mount(self) -> None:
        self.set_length(len(self.names), len(self.names) - 1)

    def cursor_moved(self) -> None:
        self.post_message(self.Moved())

    def line(self, index: int, width: int) -> Strip:
        return StyledLine().add(" ").add(cut(printable(self.names[index]), width - 2)).strip()


class ComparisonView(ScrollingLines):
    """The numbers of both circuits side by side, then the nodes that only one of them has."""

    def __init__(self, table: NodeTable) -> None:
        super().__init__(id="comparison")
        self._table = table
        self._comparison: SnapshotComparison | None = None

    def show(self, comparison: SnapshotComparison | None) -> None:
        """Show `comparison`; None before it is there."""
        if comparison is not self._comparison:
            self._comparison = comparison
            self.rebuild()

    def build(self, width: int) -> list[Strip]:
        pane_styles, comparison = self.pane_styles, self._comparison
        if comparison is None:
            return [StyledLine().add(" …", pane_styles.muted).strip()]
        head = StyledLine().left("", 18).right("current", 9, pane_styles.muted)
        lines = [
            head.right(cut(comparison.name, 11), 12, pane_styles.muted).right("change", 9, pane_styles.muted).strip()
        ]
        sizes = (comparison.both + len(comparison.only_current), comparison.both + len(comparison.only_snapshot))
        row = StyledLine().left(" nodes", 18).right(count(sizes[0]), 9, pane_styles.strong).right(count(sizes[1]), 12)
        lines.append(row.right(f"{sizes[0] - sizes[1]:+,}", 9, pane_styles.muted).strip())
        for name, field, decimals in NUMBERS:
            current, snapshot = getattr(comparison.current, field), getattr(comparison.snapshot, field)
            row = (
                StyledLine()
                .left(f" {name}", 18)
                .right(fixed(current, decimals), 9, pane_styles.strong)
                .right(fixed(snapshot, decimals), 12)
            )
            difference = None if current is None or snapshot is None else current - snapshot
            lines.append(row.right(signed(difference, decimals), 9, pane_styles.muted).strip())
        row = StyledLine().left(" accuracy", 18).right(percent(comparison.current.accuracy), 9, pane_styles.strong)
        lines += [row.right(percent(comparison.snapshot.accuracy), 12).strip(), Strip.blank(1)]
        half = (width - 3) // 2
        ours = self._node_list("only current", comparison.only_current, half)
        theirs = self._node_list("only snapshot", comparison.only_snapshot, half)
        return [*lines, *side_by_side([(ours, half), (theirs, half)], 2)]

    def _node_list(self, title: str, nodes: tuple[int, ...], width: int) -> list[Strip]:
        table, pane_styles = self._table, self.pane_styles
        sites = widest((site.short for site in table.sites), 4)
        lines = [
            StyledLine().add(f" {title}", pane_styles.title).add(f"  {count(len(nodes))}", pane_styles.muted).strip()
        ]
        for node in nodes:
            line = (
                StyledLine()
                .add(" ")
                .left(table.sites[table.site[node]].short, sites, pane_styles.muted)
                .right(str(table.latent[node]), 6)
            )
            line.add(f" @{table.positions[table.position[node]]}")
            label = cut(printable(table.label[node]), max(0, width - line.width - 2))
            lines.append(line.add(f"  {label}", pane_styles.muted).strip())
        return lines


class CompareScreen(Dialog[str | None]):
    """Compares the circuit with a snapshot. Its result is the name of the snapshot to go back to, or None.

    `compare` asks for the comparison with a name; it is handed to `show` when it is there.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,c", "dismiss(None)", "Close", show=False),
        Binding("enter,r", "restore", "Restore", show=False),
    ]

    def __init__(self, names: tuple[str, ...], table: NodeTable, compare: Callable[[str], None]) -> None:
        super().__init__(classes="dialog")
        self._names, self._table, self._compare = names, table, compare
        self._comparison: SnapshotComparison | None = None
        self._composed = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="box", id="compare-box") as box:
            box.border_title = "Compare with a snapshot"
            box.border_subtitle = "↑↓ choose   enter restores it   esc closes"
            with Horizontal():
                yield SnapshotList(self._names)
                yield ComparisonView(self._table)

    def on_mount(self) -> None:
        self._composed = True
        self._compare(self._chosen())
        self._update()

    def on_snapshot_list_moved(self) -> None:
        self._compare(self._chosen())

    def _chosen(self) -> str:
        snapshots = self.query_one(SnapshotList)
        return self._names[min(snapshots.cursor, len(self._names) - 1)] if snapshots.is_mounted else self._names[-1]

    def show(self, comparison: SnapshotComparison | None) -> None:
        """Show `comparison`, if it is with the snapshot under the cursor, as soon as the screen lives."""
        self._comparison = comparison
        if self._composed:
            self._update()

    def _update(self) -> None:
        comparison = self._comparison
        chosen = comparison is not None and comparison.name == self._chosen()
        self.query_one(ComparisonView).show(comparison if chosen else None)

    def action_restore(self) -> None:
        self.dismiss(self._chosen())
