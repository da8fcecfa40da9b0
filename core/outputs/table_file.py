"""Writes tables: CSV for programs, Markdown for notes, SVG for papers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from circuit_tui.core.atomic_file import check_target, write_bytes
from circuit_tui.core.errors import UserError
from circuit_tui.core.outputs.file_kind import CREATOR
from circuit_tui.core.outputs.output_file import check_output, claimed
from circuit_tui.core.outputs.table import Table, cell_text
from circuit_tui.core.outputs.table_picture import svg

ENDINGS: Final = (".csv", ".md", ".svg")


def is_table_name(path: Path) -> bool:
    """Whether a file of this name is a table."""
    return path.suffix.lower() in ENDINGS


def check_table_name(path: Path, flag: str) -> None:
    """Checks early that `write_table` can write `path`, which `flag` names.

    Raises:
        UserError: the name has none of `ENDINGS`, or the file cannot be written.
    """
    if not is_table_name(path):
        raise UserError(f"{flag} {path}: its name must end in one of {', '.join(ENDINGS)}")
    check_target(path)


def write_table(table: Table, path: Path, *, force: bool = False) -> Path:
    """Writes `table` in the form that the name of `path` asks for; returns the absolute path.

    Raises:
        ForeignFileError: there is a file that this program did not write, and `force` is not given.
        UserError: the name has none of `ENDINGS`, or it cannot be written there, or another process writes it.
    """
    check_table_name(path, "table")
    match path.suffix.lower():
        case ".csv":
            content = csv_text(table).encode()
        case ".md":
            content = markdown_text(table).encode()
        case _:
            content = svg(table)
    with claimed(path):
        check_output(path, force=force)
        return write_bytes(content, path)


def csv_text(table: Table) -> str:
    """Returns a table as CSV (RFC 4180), with every digit of its numbers; an unknown number is an empty field."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(["" if cell is None else cell for cell in row] for row in table.rows)
    return written.getvalue()


def markdown_text(table: Table) -> str:
    """Returns a table in Markdown, under its title. A comment in front says who wrote it."""
    rules = ["---:" if table.numbers(column) else "---" for column in table.columns]
    lines = [f"<!-- {CREATOR}: {table.kind} -->", "", f"## {_escaped(table.title)}", ""]
    lines += [_line(table.columns), _line(rules)]
    lines += [_line([_escaped(cell_text(cell)) for cell in row]) for row in table.rows]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Returns `text` so that Markdown shows it as it is, on one line."""
    for special in "\\`*_[]<>|#":
        text = text.replace(special, f"\\{special}")
    return " ".join(text.split())
