"""The columns of the circuit table: what each shows, and which of them fit on a screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Column = Literal[
    "latent", "position", "label", "promotes", "suppresses", "clean", "corrupt", "diff", "max", "freq", "effect", "bar",
    "push", "share",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """One column.

    Attributes:
        about: one line that says what it shows.
        least: cells, with the gap to its neighbour; a heading and the arrow of the sort order fit in.
        most: cells that it takes where there is room.
        text: whether it holds text, which begins at its left end.
        rank: what is dropped first where not all columns fit has the highest rank; 0 is never dropped.
    """

    about: str
    least: int
    most: int
    text: bool
    rank: int


LATENT_CELLS = 12
COLUMNS: Mapping[Column, ColumnInfo] = {
    "latent": ColumnInfo("the number of the latent", LATENT_CELLS, LATENT_CELLS, text=True, rank=0),
    "position": ColumnInfo("where it is kept, or fires", 12, 20, text=True, rank=1),
    "label": ColumnInfo("what it is called", 12, 60, text=True, rank=3),
    "promotes": ColumnInfo("tokens whose logits it raises most", 12, 40, text=True, rank=4),
    "suppresses": ColumnInfo("tokens whose logits it lowers most", 12, 40, text=True, rank=9),
    "clean": ColumnInfo("mean activation on the clean prompts", 7, 7, text=False, rank=10),
    "corrupt": ColumnInfo("mean activation on the corrupt prompts", 9, 9, text=False, rank=11),
    "diff": ColumnInfo("mean |clean − its own corrupt| activation", 7, 7, text=False, rank=7),
    "max": ColumnInfo("largest activation on a clean prompt", 7, 7, text=False, rank=13),
    "freq": ColumnInfo("share of clean prompts on which it fires", 7, 7, text=False, rank=12),
    "effect": ColumnInfo("loss of faithfulness without it", 9, 9, text=False, rank=2),
    "bar": ColumnInfo("the effect beside the largest one", 10, 10, text=False, rank=8),
    "push": ColumnInfo("direct push on the answers, in logits", 8, 8, text=False, rank=6),
    "share": ColumnInfo("share of the audit's searches that chose it", 8, 8, text=False, rank=5),
}
TEXT_COLUMNS: frozenset[Column] = frozenset(name for name, info in COLUMNS.items() if info.text)


@lru_cache(maxsize=64)
def column_widths(width: int, columns: tuple[Column, ...], latent_cells: int = LATENT_CELLS) -> dict[Column, int]:
    """The columns out of `columns` that fit in `width` cells, in order, and the cells that each takes.

    The name of a latent takes `latent_cells`: more where its site is a part of it.
    Columns are dropped by their rank until each that is left has its least width. The cells that are left are shared
    by the columns of text.
    """
    shown, least = list(columns), {**{column: COLUMNS[column].least for column in columns}, "latent": latent_cells}
    while sum(least[column] for column in shown) > width and len(shown) > 1:
        shown.remove(max(shown, key=lambda column: COLUMNS[column].rank))
    widths = {column: least[column] for column in shown}
    spare = width - sum(widths.values())
    while growing := [column for column in shown if widths[column] < COLUMNS[column].most]:
        for column in growing[:spare]:
            widths[column] += 1
        spare -= len(growing)
        if spare <= 0:
            break
    return widths
