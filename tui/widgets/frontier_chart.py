"""A chart of faithfulness against circuit size, with sizes on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from textual.strip import Strip

from circuit_tui.core.views import FrontierPoint
from circuit_tui.tui.drawing.chart import GUTTER, Axis, Curve, Mark, chart, column_of
from circuit_tui.tui.drawing.line import StyledLine
from circuit_tui.tui.drawing.number_text import count
from circuit_tui.tui.drawing.styles import PaneStyles

CURSOR, CURRENT = "●", "◆"
AXIS_LINES = 1


@dataclass(frozen=True, slots=True)
class CircuitPoint:
    """A circuit on the chart: its size in nodes and its faithfulness."""

    size: int
    faithfulness: float


@dataclass(frozen=True, slots=True)
class FrontierDrawing:
    """The content of the chart: the points, ascending in size, and the marks.

    `trail` holds the steps so far of a running search over a mask. `spans` are 95% intervals of held-out numbers, as
    (size, low, high).
    """

    points: Sequence[FrontierPoint]
    target: float | None = None
    cursor: CircuitPoint | None = None
    current: CircuitPoint | None = None
    trail: Sequence[CircuitPoint] = ()
    spans: Sequence[tuple[int, float, float]] = ()

    @property
    def span(self) -> tuple[float, float]:
        """The range of the logarithms of all sizes."""
        sizes = [point.size for point in self.points] + [point.size for point in self.trail]
        if self.current is not None and self.current.size > 0:
            sizes.append(self.current.size)
        at = [log_size(size) for size in sizes]
        low, high = min(at, default=0.0), max(at, default=1.0)
        return (low, high) if high > low else (low, low + 1.0)


def log_size(size: int) -> float:
    """The position of a size on the axis: its decimal logarithm. Zero nodes stand a little to the left of one."""
    return math.log10(max(size, 0.5))


def nearest(points: Sequence[FrontierPoint], size: int) -> int:
    """The index of the point whose size is nearest to `size` on the axis."""
    return min(range(len(points)), key=lambda index: abs(log_size(points[index].size) - log_size(size)))


def frontier_chart(drawing: FrontierDrawing, width: int, height: int, pane_styles: PaneStyles) -> list[Strip]:
    """Draw the chart in `height` lines of `width` cells; the last line is the axis of sizes."""
    points, span = drawing.points, drawing.span
    trail = Curve([(log_size(p.size), p.faithfulness) for p in drawing.trail], pane_styles.curves[2], joined=False)
    train = Curve([(log_size(p.size), p.train) for p in points], pane_styles.curves[0])
    test = Curve([(log_size(p.size), p.test) for p in points if p.test is not None], pane_styles.curves[1])
    ends = [(log_size(size), end) for size, *both in drawing.spans for end in both]
    intervals = Curve(ends, pane_styles.curves[1], joined=False)
    ys = [y for curve in (train, test, intervals) for _, y in curve.points]
    axis = Axis(max(-1.0, min(0.0, *ys, 0.0)), max(1.05, *ys, 0.0), "{:.1f}", drawing.target)
    marks = []
    if drawing.cursor is not None:
        point = drawing.cursor
        marks.append(Mark(log_size(point.size), point.faithfulness, CURSOR, pane_styles.title, upright=True))
    if drawing.current is not None and drawing.current.size > 0:
        point = drawing.current
        marks.append(Mark(log_size(point.size), point.faithfulness, CURRENT, pane_styles.warn))
    lines = chart([trail, intervals, train, test], axis, width, height - AXIS_LINES, pane_styles, span, marks)
    return [*lines, _sizes(drawing, width, pane_styles)]


def _sizes(drawing: FrontierDrawing, width: int, pane_styles: PaneStyles) -> Strip:
    """The axis of sizes: the ends of the frontier, then round numbers where there is room."""
    span, columns = drawing.span, max(1, width - GUTTER - 1)
    low, high = span
    ends = [point.size for point in (*drawing.points[-1:], *drawing.points[:1])]
    decades = [10**power for power in range(math.floor(low), math.ceil(high) + 1) if power >= 0]
    between = [step * decade for step in (2, 5) for decade in decades]
    cells = [" "] * columns
    for size in (*ends, *decades, *between):
        if not low <= log_size(size) <= high:
            continue
        text = count(size)
        start = min(max(0, column_of(log_size(size), span, columns) - len(text) // 2), columns - len(text))
        around = cells[max(0, start - 1) : start + len(text) + 1]
        if start >= 0 and all(cell == " " for cell in around):
            cells[start : start + len(text)] = text
    return (
        StyledLine()
        .right("nodes", GUTTER - 1, pane_styles.muted)
        .add("└", pane_styles.rule)
        .add("".join(cells), pane_styles.muted)
        .strip()
    )
