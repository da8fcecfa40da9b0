"""Tables as SVG: a frontier is drawn as a chart, anything else as its rows."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from circuit_tui.core.outputs.file_kind import CREATOR
from circuit_tui.core.outputs.table import Cell, Table, cell_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = {
    "font.size": 8,
    "font.family": "monospace",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": CREATOR,
    "svg.fonttype": "none",  # letters stay letters, so that they can be found and copied
    "text.parse_math": False,  # a token may have dollar signs
}
LETTER, LINE, MARGIN = 0.072, 0.17, 0.15  # inches: a monospaced letter of 8 points, a line, the margin
LONGEST = 40
"""Letters of a cell; a longer one is cut."""
TRAIN, HELD_OUT = "#0072B2", "#D55E00"


def svg(table: Table) -> bytes:
    """Returns the SVG file of a table. Its metadata name `CREATOR`, by which `file_kind` knows it again."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = _frontier(table, Figure) if table.kind == "frontier" else _rows(table, Figure)
        written = io.BytesIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": CREATOR})
    return written.getvalue()


def _rows(table: Table, make: type[Figure]) -> Figure:
    lines = [table.columns, *([_cut(cell_text(cell)) for cell in row] for row in table.rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(table.columns))]
    width = 2 * MARGIN + LETTER * sum(each + 2 for each in widths)
    height = 2 * MARGIN + LINE * (len(lines) + 2)
    figure = make(figsize=(width, height))
    figure.text(MARGIN / width, 1 - (MARGIN + LINE / 2) / height, _cut(table.title), weight="bold", va="center")
    for number, line in enumerate(lines):
        left, y = MARGIN, 1 - (MARGIN + LINE * (number + 2.0)) / height
        for column, letters, text in zip(table.columns, widths, line, strict=True):
            right = table.numbers(column)
            x = (left + (LETTER * letters if right else 0)) / width
            figure.text(x, y, text, ha="right" if right else "left", va="center", weight="normal" if number else "bold")
            left += LETTER * (letters + 2)
    return figure


def _frontier(table: Table, make: type[Figure]) -> Figure:
    figure = make(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.subplots()
    names = table.columns
    points = [dict(zip(names, row, strict=True)) for row in table.rows]
    axes.set_title(table.title)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("nodes")
    axes.set_ylabel("faithfulness")
    axes.axhline(1, color="0.6", linewidth=0.6)
    axes.grid(visible=True, linewidth=0.4, color="0.9")
    for name, label, colour in (("train", "train", TRAIN), ("test", "held-out", HELD_OUT)):
        known = [point for point in points if point[name] is not None]
        if known:
            axes.plot(
                _numbers(known, "size"),
                _numbers(known, name),
                color=colour,
                linewidth=1.1,
                marker="o",
                markersize=2.5,
                label=label,
            )
    spans = [point for point in points if point["test_low"] is not None]
    if spans:
        sizes, low, high = (_numbers(spans, name) for name in ("size", "test_low", "test_high"))
        axes.fill_between(sizes, low, high, color=HELD_OUT, alpha=0.18, linewidth=0, label="95% interval")
    if points:
        axes.legend(frameon=False, loc="lower right")
    return figure


def _numbers(points: list[dict[str, Cell]], name: str) -> list[float]:
    return [float(point[name] or 0.0) for point in points]


def _cut(text: str) -> str:
    """Returns `text` on one line, cut, without letters that XML does not have."""
    text = "".join(letter if letter.isprintable() else "·" for letter in " ".join(text.split()))
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
