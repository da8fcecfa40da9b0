"""Places for the boxes of an edge graph, in cells of a screen: positions across, sites up. Pure: no screen, no tensor.

Each position is a column, each site a band. Boxes of one position and site stand side by side; where the width does not
suffice, those of the widest columns are stacked. What still does not fit is wider or higher than asked for, to scroll.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from circuit_tui.core.edges.graph import EdgeGraph, GraphBox

FRAME = 2
"""Cells that the frame of a box takes from its width."""
MOST_NAME, MOST_BOX = 10, 24
"""The widest name that a box is made for, and the widest box."""
LANE, NARROW_LANE, MOST_LANE = 2, 1, 9
"""Lines between bands, through which links run: as a rule at least, where it is tight, at most."""
FRAMED = 3
"""Lines of a box that is framed on all sides; others have one."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a box stands: its left upper cell, and its size in cells."""

    x: int
    y: int
    width: int
    height: int

    @property
    def middle(self) -> int:
        """The column of its middle."""
        return self.x + self.width // 2


@dataclass(frozen=True, slots=True)
class GraphLayout:
    """Places of the boxes of a graph, in their order.

    Attributes:
        width, height: of the whole drawing, at least as asked for.
        places: of each box.
        bands: for each site its first line and its number of lines.
        columns: for each position its first cell and its width.
    """

    width: int
    height: int
    places: tuple[Place, ...]
    bands: dict[int, tuple[int, int]]
    columns: dict[str, tuple[int, int]]

    def step(self, box: int, across: int, up: int) -> int:
        """The box to which a cursor on `box` goes: the next in reading order, or the nearest one a line up or down.

        One of `across` and `up` is 1 or -1, the other 0. Where there is none, the cursor stays.
        """
        order = sorted(range(len(self.places)), key=lambda number: (self.places[number].y, self.places[number].x))
        if across:
            return order[max(0, min(len(order) - 1, order.index(box) + across))]
        here = self.places[box]
        lines = sorted({place.y for place in self.places if (place.y - here.y) * up < 0}, key=lambda y: abs(y - here.y))
        if not lines:
            return box
        there = [number for number, place in enumerate(self.places) if place.y == lines[0]]
        return min(there, key=lambda number: abs(self.places[number].middle - here.middle))


def lay_out(graph: EdgeGraph, width: int, height: int) -> GraphLayout:
    """Returns places for the boxes of `graph` in `width` by `height` cells, or more where these do not suffice."""
    margin = max([len(name) + 1 for name in graph.sites.values() if name], default=0)
    cells: dict[tuple[int, str], list[int]] = {}
    for number, box in enumerate(graph.boxes):
        if box.kind != "logits":
            cells.setdefault((box.site, box.position), []).append(number)
    slots, columns, width = _columns(graph, cells, margin, width)
    lines = dict.fromkeys(graph.sites, 1)
    for (site, position), boxes in cells.items():
        lines[site] = max(lines[site], -(-len(boxes) // slots[position][0]))
    bands, box_height, height = _bands(lines, height)
    places: list[Place | None] = [None] * len(graph.boxes)
    for (site, position), boxes in cells.items():
        first, (count, slot) = bands[site][0], slots[position]
        n_rows = -(-len(boxes) // count)
        for row in range(n_rows):
            here = boxes[row * len(boxes) // n_rows : (row + 1) * len(boxes) // n_rows]
            x = columns[position][0] + (columns[position][1] - len(here) * slot) // 2
            for index, number in enumerate(here):
                places[number] = Place(x + index * slot, first + row * box_height, slot - 1, box_height)
    for number, box in enumerate(graph.boxes):
        if box.kind == "logits":
            own = min(len(box.name) + FRAME, width)
            left, wide = columns[graph.positions[-1]] if graph.positions else (0, width)
            x = max(0, min(width - own, left + (wide - own) // 2))
            places[number] = Place(x, bands[box.site][0], own, box_height)
    return GraphLayout(width, height, tuple(place for place in places if place is not None), bands, columns)


def _columns(
    graph: EdgeGraph, cells: dict[tuple[int, str], list[int]], margin: int, width: int
) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]], int]:
    """The slots, the columns and the width of the drawing.

    Slots are for each position how many boxes stand side by side, and the width of each with the gap behind it.
    """
    counts = {
        position: max(len(boxes) for (_, where), boxes in cells.items() if where == position)
        for position in graph.positions
    }
    least = {
        position: max(_least_width(graph.boxes[box]) for (_, where), boxes in cells.items() if where == position
                      for box in boxes) + 1
        for position in graph.positions
    }  # fmt: skip

    def total() -> int:
        return margin + sum(counts[position] * least[position] for position in graph.positions)

    while total() > width and max(counts.values(), default=1) > 1:
        widest = max((p for p in graph.positions if counts[p] > 1), key=lambda p: counts[p] * least[p])
        counts[widest] -= 1
    width = max(width, total())
    spare = (width - total()) // max(1, sum(counts.values()))
    slots = {
        position: (counts[position], max(least[position], min(least[position] + spare, MOST_BOX + 1)))
        for position in graph.positions
    }
    left = width - margin - sum(count * slot for count, slot in slots.values())
    columns, x = dict[str, tuple[int, int]](), margin
    for index, position in enumerate(graph.positions):
        count, slot = slots[position]
        share = (index + 1) * left // len(graph.positions) - index * left // len(graph.positions)
        columns[position] = x, count * slot + share
        x += count * slot + share
    return slots, columns, width


def _least_width(box: GraphBox) -> int:
    return min(len(box.name), MOST_NAME) + FRAME


def _bands(lines: dict[int, int], height: int) -> tuple[dict[int, tuple[int, int]], int, int]:
    """For each site its first line and its number of lines; the lines of a box; and the height of the drawing."""
    lanes, rows = max(0, len(lines) - 1), sum(lines.values())

    def needed(box_height: int, lane: int) -> int:
        return rows * box_height + lanes * lane

    choices: Sequence[tuple[int, int]] = ((FRAMED, LANE), (1, LANE), (1, NARROW_LANE))
    box_height, lane = next((choice for choice in choices if needed(*choice) <= height), (1, LANE))
    height = max(height, needed(box_height, lane))
    if lanes:
        lane = min(MOST_LANE, lane + (height - needed(box_height, lane)) // lanes)
    bands, y = dict[int, tuple[int, int]](), 0
    for site in sorted(lines, reverse=True):
        bands[site] = y, lines[site] * box_height
        y += lines[site] * box_height + lane
    return bands, box_height, height
