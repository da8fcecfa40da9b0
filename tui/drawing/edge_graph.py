"""Draws an edge graph: links are lines of braille dots under labelled boxes.

The weight of a link shows in its thickness, its sign in that it is drawn through or dashed; colour only says it again.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip

from circuit_tui.core.edges.graph import EdgeGraph, GraphBox
from circuit_tui.core.edges.graph_layout import FRAMED, GraphLayout, Place
from circuit_tui.tui.drawing.chart import BRAILLE, DOTS
from circuit_tui.tui.drawing.line import StyledLine, cut, printable
from circuit_tui.tui.drawing.styles import PaneStyles

LEAST_LABEL = 4
"""A label is shown beside a name if so many of its letters fit."""
AXIS = 1
"""Lines below the drawing, for the names of the positions."""
THICKNESS = ((0.4, 3), (0.1, 2), (0.0, 1))
"""From which share of the strongest link on a line is so many dots thick."""
DASH = 3
"""Dots of a dash, and of the gap behind it."""


class _Canvas:
    """Cells of a drawing, each with a text of one cell and a style."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._dots: dict[tuple[int, int], tuple[int, int, Style]] = {}
        self._texts: list[dict[int, tuple[str, Style]]] = [{} for _ in range(height)]

    def dot(self, x: int, y: int, rank: int, style: Style) -> None:
        """Set a dot of the grid of two by four dots a cell; in a cell only the dots of the highest rank are seen."""
        cell = x // 2, y // 4
        if not (0 <= x < 2 * self.width and 0 <= y < 4 * self.height):
            return
        bits, there, own = self._dots.get(cell, (0, rank, style))
        if rank < there:
            return
        if rank > there:
            bits, own = 0, style
        self._dots[cell] = bits | DOTS[x % 2][y % 4], rank, own

    def text(self, x: int, y: int, text: str, style: Style) -> None:
        """Write over what is there; each letter of `text` is one cell wide."""
        for index, letter in enumerate(text):
            self._texts[y][x + index] = letter, style

    def strips(self) -> list[Strip]:
        """The finished lines."""
        lines = []
        for y in range(self.height):
            line, texts = StyledLine(), self._texts[y]
            for x in range(self.width):
                if x in texts:
                    line.add(*texts[x])
                elif (x, y) in self._dots:
                    bits, _, style = self._dots[x, y]
                    line.add(chr(BRAILLE + bits), style)
                else:
                    line.add(" ")
            lines.append(line.strip().simplify())
        return lines


def draw_graph(graph: EdgeGraph, layout: GraphLayout, cursor: int | None, pane_styles: PaneStyles) -> list[Strip]:
    """Draw `graph` as `layout` places it, and below it the names of the positions.

    The box `cursor`, its links and what they lead to are bright.
    """
    canvas = _Canvas(layout.width, layout.height + AXIS)
    near = {cursor}
    for link in reversed(graph.links):  # the strongest last, over the others
        here = cursor in (link.source, link.target)
        if here:
            near |= {link.source, link.target}
        style = (pane_styles.good if link.weight > 0 else pane_styles.bad) if here else pane_styles.muted
        share = abs(link.weight) / graph.strongest if graph.strongest else 0.0
        thickness = next(dots for least, dots in THICKNESS if share >= least)
        for x, y in _line(layout.places[link.source], layout.places[link.target], dashed=link.weight < 0):
            for offset in range(thickness):
                canvas.dot(x + offset - thickness // 2, y, int(here), style)
    for site, (y, _) in layout.bands.items():
        if graph.sites.get(site):
            canvas.text(0, y, printable(graph.sites[site]), pane_styles.head)
    for number, (box, place) in enumerate(zip(graph.boxes, layout.places, strict=True)):
        style = pane_styles.plain if number in near else pane_styles.muted
        style = pane_styles.strong + pane_styles.cursor if number == cursor else style
        _box(canvas, place, box, style)
    for position, (x, width) in layout.columns.items():
        name = _in_cells(position, min(width - 1, cell_len(printable(position))))
        canvas.text(x + (width - len(name)) // 2, layout.height, name, pane_styles.head)
    return canvas.strips()


def _box(canvas: _Canvas, place: Place, box: GraphBox, style: Style) -> None:
    room = place.width - 2
    labelled = box.label and room >= cell_len(box.name) + 1 + LEAST_LABEL
    text = _in_cells(f"{box.name} {box.label}" if labelled else box.name, room)
    if place.height < FRAMED:
        canvas.text(place.x, place.y, f"[{text}]", style)
        return
    canvas.text(place.x, place.y, f"┌{'─' * room}┐", style)
    canvas.text(place.x, place.y + 1, f"│{text}│", style)
    canvas.text(place.x, place.y + 2, f"└{'─' * room}┘", style)


def _in_cells(text: str, width: int) -> str:
    """`text` in `width` letters of one cell each: a letter that is wider becomes a question mark."""
    letters = "".join(letter if cell_len(letter) == 1 else "?" for letter in printable(text))
    return cut(letters, width).ljust(width)


def _line(source: Place, target: Place, *, dashed: bool) -> Iterator[tuple[int, int]]:
    """Yields the dots from the upper edge of `source` to the lower one of `target`, which is above it."""
    x0, y0 = 2 * source.middle, 4 * source.y - 1
    x1, y1 = 2 * target.middle, 4 * (target.y + target.height)
    steps = max(abs(x1 - x0), abs(y1 - y0), 1)
    for step in range(steps + 1):
        if not dashed or step // DASH % 2 == 0:
            yield round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps)
