"""The picture of a comparison: it shows every method, label and unit, and is the same each time."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from tiny.records import record, subject

from circuit_tui.core.errors import UserError
from circuit_tui.core.runs.comparison import Comparison
from circuit_tui.core.runs.picture import (
    COLOURS,
    DASHES,
    MARKERS,
    PNG_COLOURS,
    PNG_WIDTH,
    check_picture,
    draw_comparison,
)
from circuit_tui.core.search.registry import METHODS

RECORDS = [
    record(method, seed, ((3, 0.4, 0.3 + 0.1 * seed), (20, 0.95, 0.9)), about=subject(task))
    for task in ("able", "other")
    for method in METHODS
    for seed in ((0, 1) if METHODS[method].seeded else (0,))
]


def test_it_names_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("circuit_tui.core.runs.picture.STYLE", {"svg.fonttype": "none", "svg.hashsalt": "x"})
    path = draw_comparison(Comparison.of(RECORDS, complete=True), tmp_path / "p.svg")
    texts = {"".join(node.itertext()).strip() for node in ElementTree.parse(path).iter() if node.tag.endswith("text")}
    assert {*METHODS, "nodes", "held-out faithfulness f", "|1 − f|", "able (2 seeds)", "other (2 seeds)"} <= texts


def test_methods_can_be_told_apart_without_colour() -> None:
    looks = {(MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)]) for i in range(len(METHODS))}
    assert len(looks) == len(METHODS) <= len(COLOURS)


@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_each_kind_of_file(tmp_path: Path, suffix: str, start: bytes) -> None:
    path = draw_comparison(Comparison.of(RECORDS[:2], complete=True), tmp_path / f"p{suffix}")
    assert path.read_bytes().startswith(start)


def test_the_same_comparison_gives_the_same_picture(tmp_path: Path) -> None:
    one, two = (draw_comparison(Comparison.of(RECORDS, complete=True), tmp_path / name) for name in ("a.svg", "b.svg"))
    assert one.read_bytes() == two.read_bytes()


def test_a_png_is_small(tmp_path: Path) -> None:
    """A PNG goes into documentation: three rows of four tasks may take 100 KB, one row a third of that."""
    rows = tuple((size, size / 200, size / 200) for size in range(3, 200, 4))
    records = [record("mask", 0, rows, about=subject(task)) for task in "abcd"]
    path = draw_comparison(Comparison.of(records, complete=True), tmp_path / "p.png")
    with Image.open(path) as picture:
        assert picture.width <= PNG_WIDTH
        assert len(picture.getcolors()) <= PNG_COLOURS
    assert path.stat().st_size <= 33_000


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--picture .*p.gif: its name must end in one of .svg, .pdf, .png"):
        check_picture(tmp_path / "p.gif")
    with pytest.raises(UserError, match="there is no folder"):
        check_picture(tmp_path / "no" / "p.svg")
    with pytest.raises(UserError, match="no run was finished"):
        draw_comparison(Comparison.of([], complete=False), tmp_path / "p.svg")
