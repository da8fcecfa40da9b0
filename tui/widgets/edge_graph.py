"""The graph of the edges pane: boxes and links, with a cursor that goes from box to box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from circuit_tui.core.edges.graph import EdgeGraph, edge_graph, first_threshold, thresholds
from circuit_tui.core.edges.graph_layout import GraphLayout, lay_out
from circuit_tui.core.edges.view import EdgesView
from circuit_tui.tui.drawing.edge_graph import AXIS, draw_graph
from circuit_tui.tui.drawing.line import StyledLine
from circuit_tui.tui.drawing.styles import pane_styles_of


class EdgeGraphView(ScrollView, can_focus=True):
    """Draws the edges of a circuit.

    Attributes:
        at: the number of the end whose box the cursor is on.
        threshold: links of a smaller effect are not drawn; None before one is chosen.
        collapsed: whether the latents of a group at one site are one box.
        graph: what is drawn; None without edges.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "step(-1, 0)", show=False),
        Binding("right,l", "step(1, 0)", show=False),
        Binding("up,k", "step(0, 1)", show=False),
        Binding("down,j", "step(0, -1)", show=False),
        Binding("plus", "rank(-1)", show=False),
        Binding("minus", "rank(1)", show=False),
        Binding("b", "collapse", show=False),
        Binding("enter", "open", show=False),
    ]

    class Looked(Message):
        """The cursor is on the box of end number `end` now; `opened` asks to list its edges."""

        def __init__(self, end: int, *, opened: bool = False) -> None:
            super().__init__()
            self.end, self.opened = end, opened

    def __init__(self) -> None:
        super().__init__(id="edge-graph")
        self.at = 0
        self.threshold: float | None = None
        self.collapsed = True
        self.graph: EdgeGraph | None = None
        self._view: EdgesView | None = None
        self._groups: Mapping[int, str] = {}
        self._placed: GraphLayout | None = None
        self._strips: list[Strip] = []

    def show(self, view: EdgesView | None, at: int, groups: Mapping[int, str]) -> None:
        """Show `view` with the cursor on the box of end `at`; `groups` names the groups of nodes."""
        if view is not None and self._view is not None and len(view.ends) != len(self._view.ends):
            self.threshold = None
        if (view, at, groups) != (self._view, self.at, self._groups):
            self._view, self.at, self._groups = view, at, groups
            self.rebuild()

    def rebuild(self) -> None:
        """Make the graph anew and draw it."""
        size = self.scrollable_content_region.size
        self.graph = self._placed = None
        if self._view is not None and self._view.edges:
            groups = self._groups if self.collapsed else {}
            if self.threshold is None:
                self.threshold = first_threshold(edge_graph(self._view, groups))
            self.graph = edge_graph(self._view, groups, self.threshold)
            self._placed = lay_out(self.graph, size.width, size.height - AXIS)
        self._draw()

    def _draw(self) -> None:
        graph, layout, styles = self.graph, self._placed, pane_styles_of(self)
        if graph is None or layout is None:
            self._strips, self.virtual_size = [], Size(1, 1)
            self.refresh()
            return
        cursor = graph.box_of(self.at)
        self._strips = draw_graph(graph, layout, cursor, styles)
        self.virtual_size = Size(layout.width, layout.height + AXIS)
        if cursor is not None:
            place = layout.places[cursor]
            self.scroll_to_region(Region(place.x, place.y, place.width, place.height), animate=False)
        self.refresh()

    def action_step(self, across: int, up: int) -> None:
        graph, layout = self.graph, self._placed
        if graph is None or layout is None:
            return
        box = graph.box_of(self.at)
        self._look_at(len(graph.boxes) - 1 if box is None else layout.step(box, across, up))

    def action_rank(self, step: int) -> None:
        """Go to the next higher threshold (-1) or the next lower one (1)."""
        if self._view is None or self.graph is None or self.threshold is None:
            return
        values = list(thresholds(self.graph))
        nearest = min(range(len(values)), key=lambda index: abs(values[index] - (self.threshold or 0.0)))
        self.threshold = values[max(0, min(len(values) - 1, nearest + step))]
        self.rebuild()
        self.post_message(self.Looked(self.at))

    def action_collapse(self) -> None:
        self.collapsed = not self.collapsed
        self.rebuild()
        self.post_message(self.Looked(self.at))

    def action_open(self) -> None:
        if self.graph is not None:
            self.post_message(self.Looked(self.at, opened=True))

    def _look_at(self, box: int) -> None:
        assert self.graph is not None
        self.at = self.graph.boxes[box].ends[0]
        self._draw()
        self.post_message(self.Looked(self.at))

    def on_click(self, event: events.Click) -> None:
        if self._placed is None:
            return
        x, y = event.x + self.scroll_offset.x, event.y + self.scroll_offset.y
        for box, place in enumerate(self._placed.places):
            if place.x <= x < place.x + place.width and place.y <= y < place.y + place.height:
                self._look_at(box)

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self._draw())

    def on_resize(self, event: events.Resize) -> None:
        self.rebuild()

    def on_focus(self) -> None:
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width, (left, top) = self.scrollable_content_region.width, self.scroll_offset
        if not self._strips:
            text = "  computing …" if y == 0 and self._view is not None else ""
            return StyledLine().add(text, pane_styles_of(self).muted).strip(width, self.rich_style)
        if y + top >= len(self._strips):
            return Strip.blank(width, self.rich_style)
        return self._strips[y + top].crop(left, left + width).adjust_cell_length(width).apply_style(self.rich_style)
