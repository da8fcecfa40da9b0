"""A table: rows of cells under named columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from circuit_tui.core.outputs.file_kind import TABLE_COLUMNS

Cell = str | int | float | None
TableKind = Literal["latents", "frontier", "latent", "circuits"]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under the columns that its kind has. None is an empty cell: a number that is not known.

    Raises:
        ValueError: a row has more or fewer cells than there are columns.
    """

    kind: TableKind
    title: str
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"a table of {self.kind} has {len(self.columns)} columns")

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return TABLE_COLUMNS[self.kind]

    def numbers(self, column: str) -> bool:
        """Whether a column has numbers and nothing else."""
        cells = [row[self.columns.index(column)] for row in self.rows]
        return all(cell is None or isinstance(cell, int | float) for cell in cells) and any(
            cell is not None for cell in cells
        )


def cell_text(cell: Cell) -> str:
    """Returns a cell as it is read: numbers with three decimals, an unknown one as a dash."""
    if cell is None:
        return "–"
    if isinstance(cell, float):
        text = f"{cell:.3f}"
        return text.removeprefix("-") if float(text) == 0 else text
    return str(cell)
