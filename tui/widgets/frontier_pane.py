"""The frontier pane: the best circuit of every size that the search has found, and a cursor to move along them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from circuit_tui.core.views import CircuitView, FrontierPoint
from circuit_tui.tui.drawing.chart import GUTTER
from circuit_tui.tui.drawing.line import StyledLine, wrap
from circuit_tui.tui.drawing.number_text import count, fixed
from circuit_tui.tui.engine.state import SearchState
from circuit_tui.tui.widgets.frontier_chart import (
    CURRENT,
    CURSOR,
    CircuitPoint,
    FrontierDrawing,
    frontier_chart,
    log_size,
    nearest,
)
from circuit_tui.tui.widgets.lines_view import LinesView

Intervals = Mapping[int, tuple[float, float] | None]
LEGEND_LINES, READOUT_LINES = 1, 2
ABOUT = (
    "The frontier: the most faithful circuit of each size that the search has found. It is drawn while a search runs; "
    "move along it, and load any of its circuits."
)


class FrontierPane(LinesView, can_focus=True):
    """Draws the frontier of the current or last search."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,l,up,k", "along(1)", show=False),
        Binding("left,h,down,j", "along(-1)", show=False),
        Binding("pageup,ctrl+u", "along(10)", show=False),
        Binding("pagedown,ctrl+d", "along(-10)", show=False),
        Binding("g,home", "end(0)", show=False),
        Binding("G,end", "end(-1)", show=False),
        Binding("enter", "load", show=False),
    ]

    class Chosen(Message):
        """The circuit of this size is wanted."""

        def __init__(self, size: int) -> None:
            super().__init__()
            self.size = size

    def __init__(self) -> None:
        super().__init__(id="frontier", classes="pane")
        self.border_title = "Frontier"
        self._search = SearchState()
        self._circuit: CircuitView | None = None
        self._chosen: int | None = None
        self._intervals: Intervals = {}

    def show(self, search: SearchState, circuit: CircuitView | None, intervals: Intervals) -> None:
        """Show the frontier of `search` with `circuit` marked on it, and the intervals that are computed, by size."""
        if intervals != self._intervals:
            self._intervals = intervals
            self.rebuild()
        if search.spec is not self._search.spec:
            self._chosen = None
        same = search.frontier is self._search.frontier and search.phase == self._search.phase
        if same and circuit is self._circuit and (search.frontier or search.trace is self._search.trace):
            return
        self._search, self._circuit = search, circuit
        points = search.frontier
        self.border_subtitle = f"{count(points[0].size)} to {count(points[-1].size)} nodes" if points else ""
        self.rebuild()

    @property
    def point(self) -> FrontierPoint | None:
        """The point under the cursor: the chosen one, else the smallest that reaches the target, else the largest."""
        points, spec = self._search.frontier, self._search.spec
        if not points:
            return None
        if self._chosen is not None:
            return points[nearest(points, self._chosen)]
        target = spec.target if spec else 1.0
        reaching = [point for point in points if 1 - abs(1 - point.train) >= target]
        return reaching[0] if reaching else points[-1]

    def action_along(self, step: int) -> None:
        points, point = self._search.frontier, self.point
        if point is not None:
            self._choose(points[max(0, min(len(points) - 1, points.index(point) + step))])

    def action_end(self, index: int) -> None:
        if self._search.frontier:
            self._choose(self._search.frontier[index])

    def action_load(self) -> None:
        if self.point is not None:
            self.post_message(self.Chosen(self.point.size))

    def on_click(self, event: events.Click) -> None:
        if not self._search.frontier:
            return
        low, high = self._drawing().span
        columns = max(2, self.content_region.width - GUTTER - 1)
        share = (event.get_content_offset_capture(self).x - GUTTER) / (columns - 1)
        at = low + share * (high - low)
        self._choose(min(self._search.frontier, key=lambda point: abs(log_size(point.size) - at)))
        if event.chain > 1:
            self.action_load()

    def _choose(self, point: FrontierPoint) -> None:
        self._chosen = point.size
        self.rebuild()

    def _drawing(self) -> FrontierDrawing:
        search, circuit, point = self._search, self._circuit, self.point
        trail = [CircuitPoint(p.size, p.soft) for p in search.trace if p.soft is not None] if search.live else []
        return FrontierDrawing(
            points=search.frontier,
            target=search.spec.target if search.spec else None,
            cursor=None if point is None else CircuitPoint(point.size, point.train),
            current=None
            if circuit is None or circuit.estimated
            else CircuitPoint(circuit.size, circuit.test.faithfulness),
            trail=trail,
            spans=[
                (size, *interval)
                for size, interval in self._intervals.items()
                if interval is not None and any(point.size == size for point in search.frontier)
            ],
        )

    def build(self, width: int) -> list[Strip]:
        drawing = self._drawing()
        if not drawing.points and not drawing.trail:
            return self._about(width)
        height = max(3, self.content_region.height - LEGEND_LINES - READOUT_LINES)
        return [self._legend(drawing), *frontier_chart(drawing, width, height, self.pane_styles), *self._readout(width)]

    def _about(self, width: int) -> list[Strip]:
        pane_styles = self.pane_styles
        text = [StyledLine().add(" " + line, pane_styles.muted).strip() for line in wrap(ABOUT, width - 2)]
        key = StyledLine().add(" s", pane_styles.key).add("  starts a search", pane_styles.muted).strip()
        return [Strip.blank(1), *text, Strip.blank(1), key]

    def _legend(self, drawing: FrontierDrawing) -> Strip:
        pane_styles = self.pane_styles
        line = StyledLine().add(" faithfulness", pane_styles.title)
        if drawing.points:
            line.add("  ━ train", pane_styles.curves[0])
        if any(point.test is not None for point in drawing.points):
            line.add("  ━ held-out", pane_styles.curves[1])
        if drawing.spans:
            line.add("  ⠒ its 95% CI", pane_styles.curves[1])
        if drawing.trail:
            line.add("  ⠒ the mask so far", pane_styles.curves[2])
        return line.add(f"  ┈ target {drawing.target:g}" if drawing.target else "", pane_styles.muted).strip()

    def _readout(self, width: int) -> list[Strip]:
        pane_styles, point, circuit = self.pane_styles, self.point, self._circuit
        lines = []
        if point is None:
            lines.append(
                StyledLine()
                .add(f" {CURSOR} ", pane_styles.muted)
                .add("no hard circuit evaluated yet", pane_styles.muted)
            )
        else:
            line = StyledLine().add(f" {CURSOR} ", pane_styles.title).add(_nodes(point.size), pane_styles.strong)
            line.add(f"  train {fixed(point.train)}  held-out {fixed(point.test)}")
            if point.size in self._intervals:
                line.add(f"  95% CI {interval_text(self._intervals[point.size])}", pane_styles.muted)
            lines.append(line.add("  enter", pane_styles.key).add(" loads it", pane_styles.muted))
        if circuit is not None:
            line = StyledLine().add(f" {CURRENT} ", pane_styles.warn).add(_nodes(circuit.size), pane_styles.strong)
            line.add(f"  held-out {'…' if circuit.estimated else fixed(circuit.test.faithfulness)}")
            interval = circuit.test.faithfulness_interval
            if interval is not None and not circuit.estimated:
                line.add(f"  95% CI {interval_text(interval)}", pane_styles.muted)
            lines.append(line.add("  the current circuit", pane_styles.muted))
        return [line.strip(width) for line in lines]


def interval_text(interval: tuple[float, float] | None) -> str:
    """An interval, or that there is none: too few prompts."""
    return "none" if interval is None else f"{fixed(interval[0])}–{fixed(interval[1])}"


def _nodes(size: int) -> str:
    return f"{count(size):>6} {'node' if size == 1 else 'nodes'}".ljust(12)
