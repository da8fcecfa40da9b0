"""Building lines, and making text safe for the screen."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from circuit_tui.tui.drawing.line import StyledLine, cut, printable, side_by_side, spaced, wrap


def test_pieces_are_as_wide_as_asked() -> None:
    strip = StyledLine().left("wide 語語語", 8).right("7", 3).add("|").strip()
    assert strip.text == "wide 語…  7|"
    assert strip.cell_length == cell_len(strip.text) == 12


def test_control_codes_never_reach_the_terminal() -> None:
    assert printable("a\x1b[2Jb\n\tc\x9b\x7f") == "a·[2Jb↵→c··"


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (("The", " cat", "s"), "The cats"),
        (("The", "cats", "sleep"), "The cats sleep"),
        (("▁The", "▁cat", "s"), " The cats"),
        (("one",), "one"),
        ((), ""),
    ],
)
def test_tokens_read_as_text(tokens: tuple[str, ...], text: str) -> None:
    assert "".join(spaced(tokens)) == text


def test_text_wraps_at_words() -> None:
    assert wrap("one two three", 7) == ["one two", "three"]
    assert wrap("unbreakable", 4) == ["unbreakable"]
    assert cut("abcdef", 4) == "abc…"


def test_blocks_lie_side_by_side() -> None:
    lines = side_by_side(
        [([StyledLine().add("a").strip()], 3), ([StyledLine().add("b").strip(), StyledLine().add("c").strip()], 3)], 1
    )
    assert [line.text.rstrip() for line in lines] == ["a   b", "    c"]
