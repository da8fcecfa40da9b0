"""The edges pane: what feeds one node and what it feeds. Enter follows an edge, backspace goes back along the trail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from circuit_tui.core.attribution.parts import Head
from circuit_tui.core.attribution.score_parts import EdgeScore
from circuit_tui.core.edges.view import EdgesView, EdgeView
from circuit_tui.core.views import SiteInfo
from circuit_tui.tui.drawing.line import StyledLine, cut, printable, wrap
from circuit_tui.tui.drawing.number_text import fixed, signed
from circuit_tui.tui.engine.messages import Notice
from circuit_tui.tui.widgets.edge_graph import EdgeGraphView
from circuit_tui.tui.widgets.edge_why import EdgeWhy
from circuit_tui.tui.widgets.line_list import LineList
from circuit_tui.tui.widgets.lines_view import LinesView

ABOUT = (
    "The edges of the circuit: what each node gives to each other, exactly, through which attention heads, and what "
    "the answer loses without it. They are computed in the background, for the node under the circuit's cursor first, "
    "and anew when the circuit changes."
)
NUMBER = 9
COLUMNS = ("edge", "±", "|edge|", "metric")
LEAST_NAME, MOST_NAME, HEADS_FROM = 18, 44, 24


class EdgesHead(LinesView):
    """The end that is looked at, the faithfulness of the edges that are on, and the names of the columns."""

    def __init__(self, edges: EdgeList) -> None:
        super().__init__(id="edges-head")
        self._edges = edges
        self.graph: EdgeGraphView | None = None  # set while the graph is shown
        self.why: EdgeWhy | None = None  # set while the pairs of a head are shown

    def build(self, width: int) -> list[Strip]:
        edges, pane_styles = self._edges, self.pane_styles
        view, at = edges.view, edges.at
        if view is None:
            return [StyledLine().add(" " + line, pane_styles.muted).strip() for line in wrap(ABOUT, width - 2)]
        trail = f"  from {view.ends[edges.trail[-1]].name}" if edges.trail else ""
        title = f" {view.ends[at].name}{trail}  {printable(view.ends[at].label)}"
        if self.why is not None and self.why.asked is not None:
            title = f" {view.ends[self.why.asked[0]].name} to {view.ends[self.why.asked[1]].name}"
        off = sum(not edge.kept for edge in view.edges)
        now = view.nodes_faithfulness if view.faithfulness is None else view.faithfulness
        note = f"{len(view.edges) - off} of {len(view.edges)} edges  faithfulness {fixed(now)} "
        if not view.edges:
            note = "computing … "
        line = StyledLine().add(cut(title, width - len(note) - 1), pane_styles.title)
        line.pad_to(width - len(note)).add(note, pane_styles.strong if off else pane_styles.muted)
        if self.why is not None:
            return [line.strip(), *self.why.about(width)]
        if self.graph is not None:
            return [line.strip(), *self._about_graph(self.graph, width)]
        return [line.strip(), edges.heading(width)]

    def _about_graph(self, shown: EdgeGraphView, width: int) -> list[Strip]:
        """What is drawn, and the strongest links of the box under the cursor."""
        graph, styles = shown.graph, self.pane_styles
        if graph is None:
            return []
        drawn = f" ≥ {shown.threshold or 0:.3g}  {len(graph.links)} of {graph.n_links} links"
        legend = f"{drawn}   ━━ raises  ╍╍ lowers the answer; thick is strong"
        lines = [StyledLine().add(cut(legend, width), styles.muted).strip()]
        box = graph.box_of(shown.at)
        for word, mine, other in (("fed by", "target", "source"), ("feeds", "source", "target")):
            links = [link for link in graph.links if getattr(link, mine) == box]
            line = StyledLine().left(f" {word}", 8, styles.head)
            for link in links:
                to = graph.boxes[getattr(link, other)]
                name = f"{to.name}@{to.position}" if to.kind == "latent" else to.name
                text = f"{printable(name)} {signed(link.weight)}  "
                if line.width + cell_len(text) > width:
                    break
                line.add(text, styles.change(link.weight))
            lines.append(line.strip())
        return lines


class EdgeList(LineList):
    """One line for each edge of one end: those that feed it, then those that it feeds, strongest first.

    Attributes:
        view: what is shown.
        at: the number of the end that is looked at.
        trail: the ends from which edges were followed to it.
        circuit_size: number of nodes of the circuit.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", show=False),
        Binding("backspace", "back", show=False),
        Binding("right,l", "why", show=False),
    ]

    class Wondered(Message):
        """Why does a head that carries the edge under the cursor look there?"""

    class Looked(Message):
        """The pane looks at end number `end` now."""

        def __init__(self, end: int) -> None:
            super().__init__()
            self.end = end

    def __init__(self) -> None:
        super().__init__(id="edge-list")
        self.view: EdgesView | None = None
        self.at = 0
        self.trail: list[int] = []
        self.circuit_size = 0
        self._rows: list[EdgeView | str] = []

    @property
    def current(self) -> EdgeView | None:
        """The edge under the cursor."""
        row = self._rows[self.cursor] if self.cursor < len(self._rows) else ""
        return None if isinstance(row, str) else row

    def show(self, view: EdgesView | None) -> None:
        """Show `view`; the pane stays where it is, and the cursor on its edge."""
        if view is self.view:
            return
        before, self.view = self.view, view
        if view is None or before is None or len(before.ends) != len(view.ends):
            self.at, self.trail = 0 if view is None else len(view.ends) - 1, []
        self._list()

    def look_at(self, end: int, *, follow: bool = False) -> None:
        """Look at another end; with `follow`, backspace comes back to the present one."""
        if self.view is None or end == self.at:
            return
        self.trail = [*self.trail, self.at] if follow else []
        self.at = end
        self._list(fresh=True)
        self.post_message(self.Looked(end))

    def chosen(self) -> None:
        edge = self.current
        if edge is not None:
            self.look_at(edge.source if edge.target == self.at else edge.target, follow=True)

    def action_why(self) -> None:
        if self.current is not None:
            self.post_message(self.Wondered())

    def action_back(self) -> None:
        if self.trail:
            *rest, end = self.trail
            self.look_at(end)
            self.trail = rest

    def _list(self, *, fresh: bool = False) -> None:
        edge, view = self.current, self.view
        self._rows = []
        if view is not None and view.edges:
            into, out = view.into(self.at), view.out_of(self.at)
            for title, edges in (("fed by", into), ("feeds", out)):
                self._rows += [title, *edges] if edges else []
        wanted = None if edge is None or fresh else (edge.source, edge.target)
        at = next(
            (
                index
                for index, row in enumerate(self._rows)
                if not isinstance(row, str) and (row.source, row.target) == wanted
            ),
            min(1, len(self._rows)),
        )
        self.set_length(len(self._rows), at)

    def heading(self, width: int) -> Strip:
        """The names of the columns."""
        head, name = self.pane_styles.head, self._name_width(width)
        line = StyledLine().left("", 3).left("", name, head)
        for column in COLUMNS:
            line.right(column, NUMBER, head)
        return line.add("  heads of |edge|" if width - line.width > HEADS_FROM else "", head).strip()

    def line(self, index: int, width: int) -> Strip:
        assert self.view is not None
        row, pane_styles = self._rows[index], self.pane_styles
        if isinstance(row, str):
            return StyledLine().add(f" {row}", pane_styles.head).strip()
        other = self.view.ends[row.source if row.target == self.at else row.target]
        name = self._name_width(width)
        line = StyledLine().add(" ● " if row.kept else " ○ ", pane_styles.good if row.kept else pane_styles.muted)
        style = pane_styles.plain if row.kept else pane_styles.muted
        line.left(cut(printable(f"{other.name}  {other.label}".strip()), name - 1), name, style)
        line.right(signed(row.edge.mean, 2), NUMBER, style).right(fixed(row.edge.spread, 2), NUMBER, pane_styles.muted)
        line.right(fixed(row.size, 2), NUMBER, style)
        line.right("…" if row.metric is None else signed(row.metric.mean), NUMBER, pane_styles.strong)
        if width - line.width > HEADS_FROM:
            parts = [("past", row.aligned_past_heads), *((f"{h.block}.{h.head}", h.aligned) for h in row.heads[:3])]
            parts.append(("rest", row.aligned_rest))
            text = "  ".join(f"{part} {signed(value, 2)}" for part, value in parts if abs(value) >= 0.05 * row.size)
            line.add("  ").add(cut(text, width - line.width), pane_styles.muted)
        return line.strip()

    def empty_lines(self, width: int) -> list[Strip]:
        text = "computing …" if self.circuit_size else "Keep some nodes first: the circuit is empty."
        return [StyledLine().add(f"  {text}", self.pane_styles.muted).strip()]

    def _name_width(self, width: int) -> int:
        return max(LEAST_NAME, min(MOST_NAME, width - 3 - NUMBER * len(COLUMNS)))


class EdgesPane(Vertical):
    """Shows an `EdgesView`."""

    class ScoreWanted(Message):
        """The score of a head of the edge from `source` to `target` is wanted; None is the strongest head."""

        def __init__(self, source: int, target: int, head: Head | None) -> None:
            super().__init__()
            self.source, self.target, self.head = source, target, head

    def __init__(self) -> None:
        super().__init__(id="edges", classes="pane")
        self.border_title = "Edges"
        self._node: int | None = None
        self._groups: Mapping[int, str] = {}

    def compose(self) -> ComposeResult:
        edges, graph, why = EdgeList(), EdgeGraphView(), EdgeWhy()
        graph.display = why.display = False
        yield EdgesHead(edges)
        yield edges
        yield graph
        yield why

    @property
    def list(self) -> EdgeList:
        """The list of edges."""
        return self.query_one(EdgeList)

    @property
    def graph(self) -> EdgeGraphView:
        """The graph."""
        return self.query_one(EdgeGraphView)

    @property
    def home(self) -> Widget:
        """The view that is shown: the list, the graph or the pairs of a head."""
        return next(view for view in (self.graph, self.why, self.list) if view.display)

    @property
    def why(self) -> EdgeWhy:
        """The pairs that make a head look where it does."""
        return self.query_one(EdgeWhy)

    @property
    def current(self) -> EdgeView | None:
        """The edge under the cursor; None in the graph, whose cursor is on a box, and in the pairs of a head."""
        return self.list.current if self.list.display else None

    def flip(self) -> None:
        """Show the graph in place of the list, or the list in place of another view."""
        self._show_view(self.graph if self.list.display else self.list)

    def _show_view(self, shown: EdgeList | EdgeGraphView | EdgeWhy) -> None:
        had_focus = self.home.has_focus
        for view in (self.list, self.graph, self.why):
            view.display = view is shown
        head = self.query_one(EdgesHead)
        head.graph = shown if isinstance(shown, EdgeGraphView) else None
        head.why = shown if isinstance(shown, EdgeWhy) else None
        if had_focus:
            self.home.focus()
        self._refresh()

    def set_groups(self, groups: Mapping[int, str]) -> None:
        """Take the groups of nodes, by their names, for the graph."""
        if groups != self._groups:
            self._groups = groups
            self._refresh()

    def _refresh(self) -> None:
        if self.graph.display:
            self.graph.show(self.list.view, self.list.at, self._groups)
        self.query_one(EdgesHead).rebuild()

    def show(self, view: EdgesView | None, circuit_size: int) -> None:
        """Show the edges of the current circuit of `circuit_size` nodes; None before they are asked for."""
        edges = self.list
        if circuit_size != edges.circuit_size:
            edges.circuit_size = circuit_size
            edges.refresh()
        opened = edges.view is None and view is not None
        if self.why.display and (view is None or edges.view is None or len(view.ends) != len(edges.view.ends)):
            self._show_view(self.list)  # the circuit has changed
        edges.show(view)
        if opened:
            self.follow(self._node)
        self._refresh()

    def follow(self, node: int | None) -> None:
        """Look at `node` of the `NodeTable`, if it is in the circuit; else at the logit difference."""
        self._node = node
        view = self.list.view
        if view is not None:
            end = None if node is None else view.end_of(node)
            self.list.look_at(len(view.ends) - 1 if end is None else end)
            self._refresh()

    def show_score(self, score: EdgeScore | None, sites: tuple[SiteInfo, ...]) -> None:
        """Show the pairs of a head, if they were asked for."""
        self.why.show(score, sites)
        if self.why.display:
            self.query_one(EdgesHead).rebuild()

    def on_edge_list_wondered(self) -> None:
        edge = self.list.current
        if edge is None:
            return
        if not edge.heads:
            self.post_message(Notice("No head carries this edge.", "warning"))
            return
        self.why.ask(edge.source, edge.target)
        self._show_view(self.why)

    def on_edge_why_left(self) -> None:
        self._show_view(self.list)

    def on_edge_why_asked(self, event: EdgeWhy.Asked) -> None:
        event.stop()
        self.query_one(EdgesHead).rebuild()
        self.post_message(self.ScoreWanted(event.source, event.target, event.head))

    def on_edge_list_looked(self) -> None:
        if self.why.display:
            self._show_view(self.list)
        self._refresh()

    def on_edge_graph_view_looked(self, event: EdgeGraphView.Looked) -> None:
        # The list's own message ends here, in whose handler it is made: the screen hears the graph's.
        self.list.look_at(event.end)
        if event.opened:
            self.flip()
        self.query_one(EdgesHead).rebuild()
