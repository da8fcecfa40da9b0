"""Faithfulness against the size of a circuit, sizes on a logarithmic scale."""

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
    """A circuit on the chart: its size and faithfulness."""

    size: int
    faithfulness: float


@dataclass(frozen=True, slots=True)
class FrontierDrawing:
    """What is drawn: the points, ascending in size, and what is marked. `trail` is the way of a mask under way."""

    points: Sequence[FrontierPoint]
    target: float | None = None
    cursor: CircuitPoint | None = None
    current: CircuitPoint | None = None
    trail: Sequence[CircuitPoint] = ()

    @property
    def span(self) -> tuple[float, float]:
        """The range of the logarithms of all sizes."""
        sizes = [point.size for point in self.points] + [place.size for place in self.trail]
        if self.current is not None and self.current.size > 0:
            sizes.append(self.current.size)
        at = [log_size(size) for size in sizes]
        low, high = min(at, default=0.0), max(at, default=1.0)
        return (low, high) if high > low else (low, low + 1.0)


def log_size(size: int) -> float:
    """Where a size stands on the axis: its decimal logarithm; no nodes stand a little left of one."""
    return math.log10(max(size, 0.5))


def nearest(points: Sequence[FrontierPoint], size: int) -> int:
    """The index of the point whose size is nearest to `size` on the axis."""
    return min(range(len(points)), key=lambda index: abs(log_size(points[index].size) - log_size(size)))


def frontier_chart(drawing: FrontierDrawing, width: int, height: int, pane_styles: PaneStyles) -> list[Strip]:
    """The chart in `height` lines of `width` cells, the last of them the axis of sizes."""
    points, span = drawing.points, drawing.span
    trail = Curve([(log_size(p.size), p.faithfulness) for p in drawing.trail], pane_styles.curves[2], joined=False)
    train = Curve([(log_size(point.size), point.train) for point in points], pane_styles.curves[0])
    test = Curve([(log_size(p.size), p.test) for p in points if p.test is not None], pane_styles.curves[1])
    ys = [y for curve in (train, test) for _, y in curve.points]
    axis = Axis(max(-1.0, min(0.0, *ys, 0.0)), max(1.05, *ys, 0.0), "{:.1f}", drawing.target)
    marks = []
    if drawing.cursor is not None:
        place = drawing.cursor
        marks.append(Mark(log_size(place.size), place.faithfulness, CURSOR, pane_styles.title, post=True))
    if drawing.current is not None and drawing.current.size > 0:
        place = drawing.current
        marks.append(Mark(log_size(place.size), place.faithfulness, CURRENT, pane_styles.warn))
    lines = chart([trail, train, test], axis, width, height - AXIS_LINES, pane_styles, span, marks)
    return [*lines, _sizes(drawing, width, pane_styles)]


def _sizes(drawing: FrontierDrawing, width: int, pane_styles: PaneStyles) -> Strip:
    """Sizes below the chart: the ends of the frontier, then round numbers where there is room."""
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
