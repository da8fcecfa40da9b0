"""Tables as files: what is read back is what went in, and a file of ours is known again."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as some

from circuit_tui.core.errors import UserError
from circuit_tui.core.outputs.file_kind import TABLE_COLUMNS, file_kind
from circuit_tui.core.outputs.table import Cell, Table
from circuit_tui.core.outputs.table_file import csv_text, markdown_text, write_table

ODD = ' a|b "c", <d>\n$x$ *e* \x00\ud7ff'
CARD = Table("latent", "L1/3  odd | label", (("promotes", ODD, 0.1 + 0.2, None), ("position", "end", -0.00001, 2.0)))
FRONTIER = Table("frontier", "frontier", ((3, 0.8, 0.75, 0.7, 0.8), (9, 0.97, None, None, None)))


@pytest.mark.parametrize("table", [CARD, FRONTIER], ids=["card", "frontier"])
@pytest.mark.parametrize("ending", [".csv", ".md", ".svg", ".SVG"])
def test_a_written_table_is_known_as_ours(tmp_path: Path, table: Table, ending: str) -> None:
    written = write_table(table, tmp_path / f"t{ending}")
    assert file_kind(written) in ("table", "picture")
    assert write_table(table, tmp_path / "again.csv").read_text() == csv_text(table)


def test_other_tables_are_not_ours(tmp_path: Path) -> None:
    for name, text in (("a.csv", "size,train\n1,2\n"), ("a.md", "# circuit-tui\n"), ("b.csv", "part,name,value\n")):
        (tmp_path / name).write_text(text)
        assert file_kind(tmp_path / name) is None


cells = some.none() | some.integers() | some.floats(allow_nan=False) | some.text(min_size=1)


@given(some.lists(some.tuples(cells, cells, cells, cells), min_size=1))
def test_csv_keeps_every_cell(rows: list[tuple[Cell, ...]]) -> None:
    head, *read = list(csv.reader(io.StringIO(csv_text(Table("latent", "", tuple(rows))), newline="")))
    assert tuple(head) == TABLE_COLUMNS["latent"]
    for got, row in zip(read, rows, strict=True):
        assert got == ["" if cell is None else str(cell) for cell in row]
        assert [float(text) for text, cell in zip(got, row, strict=True) if isinstance(cell, float)] == [
            cell for cell in row if isinstance(cell, float)
        ]


@given(some.text())
def test_a_cell_of_markdown_stays_one_cell_on_one_line(text: str) -> None:
    lines = markdown_text(Table("latent", "t", (("promotes", text, 1.0, None),))).split("\n")
    assert len(lines) == 8
    assert lines[6].replace("\\\\", "").replace("\\|", "").count("|") == 5


def test_numbers_stand_at_the_right_and_have_no_minus_zero() -> None:
    lines = markdown_text(CARD).split("\n")
    assert lines[5] == "| --- | --- | ---: | ---: |"
    assert lines[7] == "| position | end | 0.000 | 2.000 |"


def test_the_letters_of_an_svg_can_be_found(tmp_path: Path) -> None:
    path = write_table(CARD, tmp_path / "card.svg")
    texts = [element.text for element in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]
    assert {"part", "promotes", "0.300", "–"} <= set(texts)
    assert any("$x$" in (text or "") for text in texts)
    drawn = write_table(FRONTIER, tmp_path / "frontier.svg").read_text()
    assert "held-out" in drawn
    assert "95% interval" in drawn


def test_what_cannot_be_a_table_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t\.txt: its name must end in one of \.csv, \.md, \.svg"):
        write_table(CARD, tmp_path / "t.txt")
    with pytest.raises(ValueError, match="4 columns"):
        Table("latent", "", (("one",),))
