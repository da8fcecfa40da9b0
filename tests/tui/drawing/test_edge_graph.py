"""The drawing of an edge graph: sign and weight show without colour, the cursor's links are bright, boxes are whole."""

from __future__ import annotations

import pytest
from rich.style import Style

from circuit_tui.core.edges.graph import EdgeGraph, GraphBox, GraphLink
from circuit_tui.core.edges.graph_layout import lay_out
from circuit_tui.tui.drawing.edge_graph import draw_graph
from circuit_tui.tui.drawing.styles import PaneStyles, pane_styles_for
from circuit_tui.tui.drawing.themes import DARK

STYLES = pane_styles_for(DARK)
BOXES = (
    GraphBox((0,), "latent", 0, "one", "17", "cats dogs"),
    GraphBox((1,), "latent", 1, "one", "21", ""),
    GraphBox((2,), "latent", 0, "two", "33", "[red]x[/]"),
    GraphBox((3,), "latent", 1, "two", "48", "狗"),
)


def graph(*weights: float) -> EdgeGraph:
    links = tuple(GraphLink(2 * index, 2 * index + 1, weight) for index, weight in enumerate(weights))
    return EdgeGraph(BOXES, links, ("one", "two"), {0: "L0", 1: "L1"}, len(links), max(map(abs, weights)))


def drawn(made: EdgeGraph, cursor: int | None = None, styles: PaneStyles = STYLES, width: int = 40) -> list[str]:
    return [strip.text for strip in draw_graph(made, lay_out(made, width, 12), cursor, styles)]


def dots(lines: list[str], *columns: int) -> int:
    """The number of braille dots in some columns."""
    return sum(
        (ord(line[x]) - 0x2800).bit_count() for line in lines for x in columns if 0x2800 <= ord(line[x]) < 0x2900
    )


def halves(lines: list[str]) -> tuple[int, int]:
    """Braille dots left and right."""
    width = len(lines[0])
    return dots(lines, *range(width // 2)), dots(lines, *range(width // 2, width))


def test_a_strong_link_is_thicker_than_a_weak_one() -> None:
    left, right = halves(drawn(graph(1.0, 0.05)))
    assert left >= 2 * right > 0


def test_a_link_that_lowers_the_answer_is_dashed() -> None:
    left, right = halves(drawn(graph(1.0, -1.0)))
    assert 0 < right < 0.7 * left


def test_boxes_have_names_sites_and_positions() -> None:
    lines = drawn(graph(1.0, 0.5), width=60)
    text = "\n".join(lines)
    for name in ("17 cats dogs", "21", "33 [red]x[/]", "48", "L0", "L1"):
        assert name in text
    assert lines[-1].split() == ["one", "two"]
    assert "狗" not in text, "a wide letter would shift the cells behind it"
    assert {len(line) for line in lines} == {60}


def test_where_there_is_little_room_the_number_stays_whole() -> None:
    text = "\n".join(drawn(graph(1.0, 0.5), width=16))
    assert all(f"{number}" in text for number in (17, 21, 33, 48))
    assert "cats" not in text


@pytest.mark.parametrize("colour", [True, False])
def test_links_of_the_cursor_are_bright_and_others_are_not(colour: bool) -> None:
    styles = pane_styles_for(DARK, colour=colour)
    made = graph(0.5, -0.5)
    strips = draw_graph(made, lay_out(made, 40, 12), 0, styles)
    seen: dict[Style | None, int] = {}
    for strip in strips:
        for segment in strip:
            if any(0x2800 < ord(letter) < 0x2900 for letter in segment.text):
                seen[segment.style] = seen.get(segment.style, 0) + 1
    assert set(seen) == {styles.good, styles.muted}
    names = {segment.text.strip("[]│ "): segment.style for strip in strips for segment in strip}
    assert names["21"] == styles.plain
    assert names["48 ?"] == styles.muted


def test_a_link_under_a_bright_one_does_not_take_its_colour() -> None:
    """Where two links cross in a cell only the bright one is seen there."""
    crossing = (GraphLink(0, 3, 0.5), GraphLink(2, 1, -0.5))
    made = EdgeGraph(BOXES, crossing, ("one", "two"), {0: "L0", 1: "L1"}, 2, 0.5)
    strips = draw_graph(made, lay_out(made, 40, 12), 0, STYLES)
    alone = EdgeGraph(BOXES, crossing[:1], ("one", "two"), {0: "L0", 1: "L1"}, 2, 0.5)
    bright = [
        (y, x, letter)
        for y, strip in enumerate(draw_graph(alone, lay_out(alone, 40, 12), 0, STYLES))
        for x, letter in enumerate(strip.text)
        if 0x2800 < ord(letter) < 0x2900
    ]
    assert bright
    assert all(strips[y].text[x] == letter for y, x, letter in bright)
