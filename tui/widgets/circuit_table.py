"""The circuit as a table: the sites in order, the latents of each site, the positions of each latent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from circuit_tui.core.latents.views import LatentColumns, UserWords
from circuit_tui.core.views import CircuitView, NodeTable
from circuit_tui.tui.circuit_columns import TEXT_COLUMNS, Column, column_widths
from circuit_tui.tui.circuit_rows import CircuitRows, LatentRow, NodeRow, Row, SiteRow, row_key
from circuit_tui.tui.drawing.chart import bar
from circuit_tui.tui.drawing.line import StyledLine, printable, token_text
from circuit_tui.tui.drawing.number_text import compact, count, percent, signed
from circuit_tui.tui.drawing.styles import PaneStyles
from circuit_tui.tui.widgets.line_list import LineList


def heading(widths: Mapping[Column, int], sort: Column, reverse: bool, pane_styles: PaneStyles) -> Strip:
    """The line above the table; the column that sorts it is marked with the direction."""
    line = StyledLine()
    for column, cells in widths.items():
        falling = reverse == (column in TEXT_COLUMNS)
        text = column + (("▼" if falling else "▲") if column == sort else "")
        style = pane_styles.key if column == sort else pane_styles.head
        if column in TEXT_COLUMNS:
            line.left(("   " if column == "latent" else "") + text, cells, style)
        else:
            line.right(text, cells, style)
    return line.strip()


class CircuitTable(LineList):
    """Shows `CircuitRows`. It does not know the engine: it posts messages about what the user does."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,l", "unfold", show=False),
        Binding("left,h", "fold", show=False),
        Binding("enter", "flip", show=False),
    ]

    class CursorMoved(Message):
        """The cursor is on another row."""

    class Opened(Message):
        """The number of the latent under the cursor was clicked: it is to be shown closely."""

    class Listed(Message):
        """The rows, their order or the filter changed."""

    def __init__(self) -> None:
        super().__init__(id="circuit-table")
        self.model: CircuitRows | None = None
        self.hidden: frozenset[Column] = frozenset()

    def set_table(self, table: NodeTable) -> None:
        """Take the candidate nodes of a newly opened session."""
        self.model = CircuitRows(table)
        self.model.hidden = self.hidden

    def hide(self, columns: frozenset[Column]) -> None:
        """Show all columns but these."""
        self.hidden = columns
        if self.model is not None:
            self.model.hidden = columns
            self._sort_by_a_column()

    @property
    def seen_columns(self) -> tuple[Column, ...]:
        """The columns that are on the screen."""
        return (
            tuple(column_widths(self.scrollable_content_region.width, self.model.columns, self.model.latent_cells))
            if self.model
            else ()
        )

    def _sort_by_a_column(self) -> None:
        """Draw other columns; where the one that sorts the list has gone, sort by the latent."""
        assert self.model is not None
        if self.model.sort not in self.model.columns:
            self.relist(sort="latent", reverse=False)
        self.refresh()
        self.post_message(self.Listed())

    def set_circuit(self, circuit: CircuitView, *, whole: bool) -> None:
        """Show `circuit`. Unless rows come or go, only those whose content changed are drawn again."""
        model = self.model
        if model is None:
            return
        if whole:
            model.show_all = circuit.size == 0
        changed = self._keeping_cursor(lambda: model.set_circuit(circuit, whole=whole))
        if not changed:
            self.refresh_changed()

    def set_words(self, words: UserWords) -> None:
        """Show the user's labels, marks and groups."""
        if self.model is not None:
            self.model.set_words(words)
            self.refresh_changed()

    def set_latent_columns(self, columns: LatentColumns) -> None:
        """Show push and tokens as far as they are computed."""
        model = self.model
        if model is None or columns is model.latent_columns:
            return
        if not self._keeping_cursor(lambda: model.set_latent_columns(columns)):
            self.refresh_changed()

    def set_shares(self, shares: Mapping[int, float]) -> None:
        """Show the share of searches that chose each node; an empty mapping removes the column."""
        model = self.model
        if model is None or shares == model.shares:
            return
        model.set_shares(shares)
        self._sort_by_a_column()

    def relist(self, *, sort: Column | None = None, reverse: bool | None = None, **changes: object) -> None:
        """Change what is listed or how it is sorted; the cursor stays on its site, latent or node."""
        model = self.model
        if model is None:
            return
        if sort is not None:
            model.sort = sort
        if reverse is not None:
            model.reverse = reverse
        for name, value in changes.items():
            setattr(model, name, value)
        model.forget_dropped()
        self._keeping_cursor(model.rebuild)

    def _keeping_cursor(self, change: Callable[[], bool]) -> bool:
        model = self.model
        assert model is not None
        row = self.current
        if not change():
            return False
        found = 0 if row is None else model.find(row_key(row)) or 0
        headed = found < len(model.rows) and isinstance(model.rows[found], SiteRow)  # a flat list may be empty
        stands_in = not isinstance(row, SiteRow) and headed
        if stands_in and found + 1 < len(model.rows) and not isinstance(model.rows[found + 1], SiteRow):
            found += 1  # its row has gone: the next latent is better than the heading above it
        self.set_length(len(model.rows) if model.n_listed else 0, found)
        self.post_message(self.Listed())
        if self.current is None or row is None or row_key(self.current) != row_key(row):
            self.post_message(self.CursorMoved())
        return True

    @property
    def current(self) -> Row | None:
        """The row under the cursor."""
        rows: Sequence[Row] = self.model.rows if self.model else ()
        return rows[self.cursor] if self.cursor < len(rows) and self._length else None

    def reveal(self, node: int, *, latent: bool = False) -> None:
        """Put the cursor on `node`, or with `latent` on its latent, making it visible first."""
        if self.model is not None and (index := self.model.reveal(node, latent=latent)) is not None:
            self.set_length(len(self.model.rows), index)
            self.post_message(self.Listed())
            self.post_message(self.CursorMoved())

    def to_match(self, step: int) -> bool:
        """Go to the next or previous row that meets the last filter; returns whether there is one."""
        index = self.model.next_match(self.cursor, step) if self.model is not None else None
        if index is None:
            return False
        self.move_cursor(index)
        return True

    def cursor_moved(self) -> None:
        self.post_message(self.CursorMoved())

    def chosen(self) -> None:
        self.action_flip()

    def action_unfold(self) -> None:
        self._set_open(True)

    def action_fold(self) -> None:
        self._set_open(False)

    def action_flip(self) -> None:
        self._set_open(None)

    def _set_open(self, wanted: bool | None) -> None:
        """Open or close the site or latent under the cursor; None opens what is closed, and the reverse."""
        model, row = self.model, self.current
        if model is None or row is None:
            return
        match row:
            case SiteRow(site):
                shut = site not in model.folded if wanted is None else not wanted
                (model.folded.add if shut else model.folded.discard)(site)
            case LatentRow(site, latent, nodes):
                opened = not row.expanded if wanted is None else wanted
                if not opened and not row.expanded:
                    self._to_heading(site)
                    return
                if len(nodes) < 2:
                    return
                (model.expanded.add if opened else model.expanded.discard)((site, latent))
            case NodeRow(site, latent):
                if wanted is not False:
                    return
                index = model.find((site, latent))
                if index is not None:
                    self.move_cursor(index)
                return
        self._keeping_cursor(model.rebuild)

    def _to_heading(self, site: int) -> None:
        index = self.model.find((site,)) if self.model else None
        if index is not None:
            self.move_cursor(index)

    def next_column(self, step: int) -> None:
        """Sort by the next or previous column of those that are seen."""
        if self.model is not None:
            columns = self.seen_columns
            at = columns.index(self.model.sort) if self.model.sort in columns else 0
            self.relist(sort=columns[(at + step) % len(columns)], reverse=False)

    def sort_by(self, column: Column) -> None:
        """Sort by `column`; if that sorts the table already, the other way round."""
        if self.model is not None:
            again = self.model.sort == column
            self.relist(sort=column, reverse=again and not self.model.reverse)

    def on_click(self, event: events.Click) -> None:
        index = event.y + self.scroll_offset.y
        if index >= self._length or self.model is None:
            return
        if 3 < event.x < self.model.latent_cells and isinstance(self.model.rows[index], LatentRow):
            self.move_cursor(index)
            self.post_message(self.Opened())
            return
        if event.x >= 3:
            return
        event.prevent_default()  # a second click here is no choice of the row, as it is elsewhere
        self.move_cursor(index)
        if isinstance(self.current, SiteRow):
            self.action_flip()
        else:
            self.call_after_refresh(self.run_action, "screen.switch")

    def empty_lines(self, width: int) -> list[Strip]:
        pane_styles = self.pane_styles
        model = self.model
        if model is None:
            return []
        if model.filter:
            text = f"{model.filter_error}. " if model.filter_error else f"Nothing matches “{model.filter}”. "
            return [
                Strip.blank(1),
                StyledLine()
                .add("   " + text, pane_styles.muted)
                .add("esc", pane_styles.key)
                .add(" clears", pane_styles.muted)
                .strip(),
            ]
        return [
            Strip.blank(1),
            StyledLine().add("   The circuit is empty.", pane_styles.strong).strip(),
            Strip.blank(1),
            StyledLine().add("   s", pane_styles.key).add("  start a search for one", pane_styles.muted).strip(),
            StyledLine()
            .add("   a", pane_styles.key)
            .add("  list all candidates, to switch them on one by one", pane_styles.muted)
            .strip(),
        ]

    def line(self, index: int, width: int) -> Strip:
        assert self.model is not None
        row = self.model.rows[index]
        match row:
            case SiteRow():
                return self._site_line(row, width)
            case LatentRow():
                return self._latent_line(row, width)
            case NodeRow():
                return self._values(self._node_start(row), row, (row.node,), width)

    def _site_line(self, row: SiteRow, width: int) -> Strip:
        model, pane_styles = self.model, self.pane_styles
        assert model is not None
        site = model.table.sites[row.site]
        kept = model.site_size(row.site)
        line = (
            StyledLine()
            .add(" ▸ " if row.site in model.folded else " ▾ ", pane_styles.muted)
            .add(site.short, pane_styles.title)
        )
        line.add(f"  {site.hook}", pane_styles.muted).add("  ")
        line.add(count(kept), pane_styles.strong if kept else pane_styles.muted).add(
            f" of {count(site.n_nodes)} kept", pane_styles.muted
        )
        if row.listed != site.n_nodes and row.listed != kept:
            line.add(f", {count(row.listed)} listed", pane_styles.muted)
        return line.add(" ").add("─" * (width - line.width - 1), pane_styles.rule).strip()

    def _node_start(self, row: NodeRow) -> StyledLine:
        assert self.model is not None
        marked = row.node in self.model.said.marked
        return StyledLine().add("*" if marked else " ", self.pane_styles.key).add("    ").add(*self._mark(row.node))

    def _mark(self, node: int) -> tuple[str, Style]:
        assert self.model is not None
        return ("● ", self.pane_styles.good) if self.model.kept((node,)) else ("○ ", self.pane_styles.muted)

    def _latent_line(self, row: LatentRow, width: int) -> Strip:
        model, pane_styles = self.model, self.pane_styles
        assert model is not None
        kept = model.kept(row.nodes)
        mark = "○" if not kept else "●" if kept == len(row.nodes) else "◐"
        marked = any(node in model.said.marked for node in row.nodes)
        line = (
            StyledLine()
            .add("*" if marked else " ", pane_styles.key)
            .add(mark, pane_styles.good if kept else pane_styles.muted)
        )
        line.add(" ▾" if row.expanded else " ▸" if len(row.nodes) > 1 else "  ", pane_styles.muted)
        name = f"{model.table.sites[row.site].short}/{row.latent}" if model.flat else str(row.latent)
        line.right(name, model.latent_cells - 5 if model.flat else 6, pane_styles.strong if kept else pane_styles.plain)
        return self._values(line, row, row.nodes, width)

    def _values(self, line: StyledLine, row: LatentRow | NodeRow, nodes: tuple[int, ...], width: int) -> Strip:
        model, pane_styles = self.model, self.pane_styles
        assert model is not None
        tone = pane_styles.plain if model.kept(nodes) else pane_styles.muted
        widths = column_widths(width, model.columns, model.latent_cells)
        for column, cells in widths.items():
            match column:
                case "latent":
                    line.pad_to(cells)
                case "position":
                    line.left(self._positions(nodes, cells - 1), cells, tone)
                case "label" | "promotes" | "suppresses":
                    text = "" if isinstance(row, NodeRow) else self._text(row, column)
                    dots = self._group_colours(nodes) if column == "label" else []
                    for colour in dots:
                        line.add("■", pane_styles.group(colour))
                    line.left((" " if dots else "") + text, cells - 1 - len(dots), tone).add(" ")
                case "bar":
                    line.add("  ").join(self._bar(nodes, cells - 2))
                case "push":
                    push = model.value(nodes, "push")
                    line.right(signed(push, 2, ""), cells, pane_styles.change(push or 0.0))
                case "effect":
                    text, style = self._effect(nodes)
                    line.right(text, cells, style)
                case "freq" | "share":
                    line.right(percent(model.value(nodes, column) or 0.0), cells, tone)
                case _:
                    line.right(compact(model.value(nodes, column) or 0.0), cells, tone)
        return line.strip()

    def _text(self, row: LatentRow, column: Column) -> str:
        """The label of a latent, or the tokens at one end of what it writes."""
        assert self.model is not None
        label, promotes, suppresses = self.model.words(row)
        if column == "label":
            return printable(label)
        return " ".join(token_text(token) for token in (promotes if column == "promotes" else suppresses))

    def _group_colours(self, nodes: tuple[int, ...]) -> list[str]:
        """The colours of the groups that `nodes` are in, at most three."""
        assert self.model is not None
        said = self.model.said
        names = dict.fromkeys(name for node in nodes for name in said.groups.get(node, ()))
        return [said.colours[name] for name in names][:3]

    def _bar(self, nodes: tuple[int, ...], cells: int) -> Strip:
        """The effect of `nodes` as a bar; the largest effect of the circuit fills `cells`."""
        assert self.model is not None
        share, pane_styles = self.model.effect_share(nodes) or 0.0, self.pane_styles
        style = pane_styles.good if share > 0 else pane_styles.bad
        return StyledLine().left(bar(abs(share), cells), cells, style).strip()

    def _effect(self, nodes: tuple[int, ...]) -> tuple[str, Style]:
        assert self.model is not None
        pane_styles, effect = self.pane_styles, self.model.value(nodes, "effect")
        if effect is None:
            return "…" if self.model.kept(nodes) else "", pane_styles.muted
        return signed(effect, 3), pane_styles.change(effect)

    def _positions(self, nodes: tuple[int, ...], width: int) -> str:
        assert self.model is not None
        names = self.model.table.positions
        kept = [i for i in nodes if self.model.kept((i,))] or list(nodes)
        text = " ".join(names[self.model.table.position[i]] for i in kept)
        if len(text) <= width:
            return text
        return f"{names[self.model.table.position[kept[0]]]} +{len(kept) - 1}" if len(kept) > 1 else text
