"""Curves in braille: each cell has two by four dots, so a chart 40 by 5 has 80 by 20 points."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.style import Style
from textual.strip import Strip

from circuit_tui.tui.drawing.line import StyledLine
from circuit_tui.tui.drawing.styles import PaneStyles

BRAILLE = 0x2800
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
GUTTER = 7


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve of a chart. Its points are in order of x if they are `joined`; otherwise they are separate dots."""

    points: Sequence[tuple[float, float]]
    style: Style
    joined: bool = True


@dataclass(frozen=True, slots=True)
class Mark:
    """A character at a point; `upright` adds a dotted vertical line through it."""

    x: float
    y: float
    text: str
    style: Style
    upright: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """The range of y; `text` is the format of its ends. A dotted line is drawn at the height of `target`."""

    low: float
    high: float
    text: str = "{:.2f}"
    target: float | None = None

    def label(self, value: float) -> str:
        """`value` as the axis writes it; a number that rounds to zero has no sign."""
        text = self.text.format(value)
        return text.removeprefix("-") if float(text) == 0 else text


def axis_around(curves: Sequence[Curve], text: str, floor: float | None = None) -> Axis:
    """An axis that holds all points. Its lower end is `floor` if that is given."""
    values = [y for curve in curves for _, y in curve.points if math.isfinite(y)]
    low = floor if floor is not None else min(values, default=0.0)
    high = max(values, default=1.0)
    return Axis(low, high if high > low else low + 1.0, text)


def chart(
    curves: Sequence[Curve],
    axis: Axis,
    width: int,
    height: int,
    pane_styles: PaneStyles,
    span: tuple[float, float] | None = None,
    marks: Sequence[Mark] = (),
) -> list[Strip]:
    """Draw `curves` in `height` lines of `width` cells, with the ends of the y axis on the left.

    `span` is the range of x, by default that of the points. If several `marks` fall into one cell, the last is shown.
    """
    columns = max(1, width - GUTTER - 1)
    xs = [x for curve in curves for x, _ in curve.points]
    first, last = span or (min(xs, default=0.0), max(xs, default=1.0))
    cells = [[0] * columns for _ in range(height)]
    styles: list[list[Style | None]] = [[None] * columns for _ in range(height)]
    wide = (first, last if last > first else first + 1.0)
    for curve in curves:
        _plot(curve, wide, axis, cells, styles)
    over: list[dict[int, tuple[str, Style]]] = [{} for _ in range(height)]
    for mark in marks:
        column = column_of(mark.x, wide, columns)
        for y in range(height) if mark.upright else ():
            if not cells[y][column]:
                over[y].setdefault(column, ("┊", pane_styles.rule))
        over[height - 1 - _row(mark.y, axis, height * 4) // 4][column] = (mark.text, mark.style)
    target_row = None if axis.target is None else height - 1 - _row(axis.target, axis, height * 4) // 4
    lines = []
    for y in range(height):
        label = axis.label(axis.high) if y == 0 else axis.label(axis.low) if y == height - 1 else ""
        line = StyledLine().right(label if height > 1 else "", GUTTER - 1, pane_styles.muted)
        line.add("┤" if label else "│", pane_styles.rule)
        line.join(_row_strip(cells[y], styles[y], over[y], pane_styles.rule, dotted=y == target_row))
        lines.append(line.strip())
    return lines


def column_of(x: float, span: tuple[float, float], columns: int) -> int:
    """The index of the cell, out of `columns`, in which a chart with the range `span` draws `x`."""
    return max(0, min(columns - 1, round((x - span[0]) / (span[1] - span[0]) * (columns * 2 - 1)) // 2))


def _row(value: float, axis: Axis, dots: int) -> int:
    share = (value - axis.low) / (axis.high - axis.low)
    return max(0, min(dots - 1, round(share * (dots - 1))))


def _plot(
    curve: Curve,
    span: tuple[float, float],
    axis: Axis,
    cells: list[list[int]],
    styles: list[list[Style | None]],
) -> None:
    columns, dots = len(cells[0]) * 2, len(cells) * 4
    scale = (columns - 1) / (span[1] - span[0])
    ranges: dict[int, tuple[int, int]] = {}

    def cover(column: int, low: int, high: int) -> None:
        old = ranges.get(column)
        ranges[column] = (low, high) if old is None else (min(low, old[0]), max(high, old[1]))

    before: tuple[int, int] | None = None
    for x, y in curve.points if curve.joined else ():
        if not math.isfinite(y):
            before = None
            continue
        here = (round((x - span[0]) * scale), _row(y, axis, dots))
        cover(here[0], here[1], here[1])
        if before is not None:
            _connect(before, here, cover)
        before = here
    drawn = [(column, dot) for column, (low, high) in ranges.items() for dot in range(low, high + 1)]
    if not curve.joined:
        finite = [(x, y) for x, y in curve.points if math.isfinite(y) and span[0] <= x <= span[1]]
        drawn = [(round((x - span[0]) * scale), _row(y, axis, dots)) for x, y in finite]
    for column, dot in drawn:
        line, within = divmod(dots - 1 - dot, 4)
        cells[line][column // 2] |= DOTS[column % 2][within]
        styles[line][column // 2] = curve.style


def _connect(before: tuple[int, int], here: tuple[int, int], cover: Callable[[int, int, int], None]) -> None:
    """Cover the dots between two points: `cover` takes a column and its lowest and highest dot."""
    (x0, y0), (x1, y1) = before, here
    if x1 <= x0:
        return
    level = y0
    for column in range(x0 + 1, x1 + 1):
        now = round(y0 + (y1 - y0) * (column - x0) / (x1 - x0))
        # Neighbouring columns share the steep part, so that the curve stays one dot thick where it is flat.
        step = 0 if now == level else 1 if now > level else -1
        cover(column, min(level + step, now), max(level + step, now))
        level = now


def _row_strip(
    cells: list[int], styles: list[Style | None], over: dict[int, tuple[str, Style]], rule: Style, *, dotted: bool
) -> Strip:
    line = StyledLine()
    run, run_style = "", None
    for column, (cell, style) in enumerate(zip(cells, styles, strict=True)):
        text, own = (chr(BRAILLE + cell), style) if cell else ("┈", rule) if dotted else (" ", None)
        text, own = over.get(column, (text, own))
        if own is not run_style and run:
            line.add(run, run_style or Style())
            run = ""
        run, run_style = run + text, own
    return line.add(run, run_style or Style()).strip()


def bar(share: float, width: int) -> str:
    """A horizontal bar of `share` of `width` cells, drawn in eighths of a cell."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")


def columns_chart(counts: Sequence[int], width: int, height: int, style: Style) -> list[Strip]:
    """Vertical bars for `counts`, each one or more cells wide; no lines if all counts are zero.

    If there are more counts than cells, as many neighbours are added together as divide them into equal bars: none is
    left out, and none is higher than its share.
    """
    if not counts or max(counts) == 0:
        return []
    each_bar = next(n for n in range(1, len(counts) + 1) if len(counts) % n == 0 and len(counts) // n <= max(1, width))
    counts = [sum(counts[start : start + each_bar]) for start in range(0, len(counts), each_bar)]
    each = max(1, width // len(counts))
    top = max(counts)
    lines = []
    for y in range(height):
        line = StyledLine()
        for number in counts:
            eighths = round(number / top * height * 8) - (height - 1 - y) * 8
            if number and y == height - 1:
                eighths = max(1, eighths)
            line.add(" ▁▂▃▄▅▆▇█"[max(0, min(8, eighths))] * each, style)
        lines.append(line.strip())
    return lines
