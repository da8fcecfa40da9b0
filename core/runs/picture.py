"""The frontiers of a comparison as a figure for a paper: SVG, PDF or PNG.

Each task has two panels over the number of nodes (logarithmic): held-out faithfulness, and its distance from 1
(logarithmic). Lines are medians over seeds, and bands run from the smallest to the largest seed. A line is flat up to
the next circuit of the frontier. Methods differ in marker and dashes as well as in colour, so that grey print will do;
the colours are those of Okabe and Ito (2008).

A PNG is kept small, for documentation: eleven tasks with eight methods stay below 100 KB. Matplotlib's own PNG has
320 KB and the SVG 1.2 MB, half of it ticks and letters. SVG and PDF have every point.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

from circuit_tui.core.atomic_file import check_target, write_bytes
from circuit_tui.core.errors import UserError
from circuit_tui.core.outputs.file_kind import CREATOR
from circuit_tui.core.runs.comparison import Comparison, MethodComparison, TaskComparison
from circuit_tui.core.search.registry import method

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".pdf", ".png")
COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", ".")
DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
COLUMNS = 4
# Inches: the width of the narrowest figure, a column and a label of the legend; the height of a row and the legend.
MIN_WIDTH, COLUMN_WIDTH, LABEL_WIDTH, ROW_HEIGHT, LEGEND_HEIGHT = 4.2, 2.3, 1.6, 3.6, 0.6
MIN_ERROR = 3e-3
"""The lower end of the axis of |1 - f|."""
MAX_FAITHFULNESS = 1.3
"""The upper end of the axis of f."""
MAX_MARKERS = 8
"""Markers on one line."""
# A PNG has at most so many pixels across and dots per inch, and a palette of so many colours.
PNG_WIDTH, PNG_DPI, PNG_COLOURS = 1104, 200, 64
STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "circuit-tui",
}


def check_picture(path: Path) -> None:
    """Checks early that `draw_comparison` can write a picture to `path`.

    Raises:
        UserError: it is not a kind of picture that can be made, or cannot be written there.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--picture {path}: its name must end in one of {', '.join(SUFFIXES)}")
    check_target(path)


def draw_comparison(comparison: Comparison, path: Path) -> Path:
    """Draws all tasks of `comparison` into `path`; returns the absolute path.

    Raises:
        UserError: there is nothing to draw, or it cannot be written there.
    """
    check_picture(path)
    if not comparison.tasks:
        raise UserError(f"--picture {path}: no run was finished, so there is nothing to draw")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(comparison.tasks))
    inches = max(MIN_WIDTH, COLUMN_WIDTH * columns)
    rows = math.ceil(len(comparison.tasks) / columns)
    labels = list(dict.fromkeys(method.label for task in comparison.tasks for method in task.methods))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(inches, ROW_HEIGHT * rows + LEGEND_HEIGHT), layout="constrained")
        axes = figure.subplots(2 * rows, columns, squeeze=False)
        for panel in axes.flat:
            panel.set_visible(False)
        for index, task in enumerate(comparison.tasks):
            row, column = divmod(index, columns)
            upper, lower = axes[2 * row][column], axes[2 * row + 1][column]
            _draw_task(task, upper, lower, labels, first=column == 0)
        handles = {line.get_label(): line for panel in axes.flat for line in panel.get_lines()}
        figure.legend(
            [handles[name] for name in labels], labels, loc="outside lower center", ncols=int(inches / LABEL_WIDTH),
            frameon=False,
        )  # fmt: skip
        content = _saved(figure, path.suffix.lower())
    return write_bytes(content, path)


def _saved(figure: Figure, suffix: str) -> bytes:
    """Returns the file of a picture. Its metadata name `CREATOR`, by which `file_kind` knows it again."""
    written = io.BytesIO()
    match suffix:
        case ".png":
            from PIL import Image, PngImagePlugin

            drawn, named = io.BytesIO(), PngImagePlugin.PngInfo()
            named.add_text("Software", CREATOR)
            figure.savefig(drawn, format="png", dpi=min(PNG_DPI, PNG_WIDTH / figure.get_figwidth()))
            reduced = Image.open(drawn).convert("RGB").quantize(PNG_COLOURS, dither=Image.Dither.NONE)
            reduced.save(written, format="png", optimize=True, pnginfo=named)
        case ".svg":
            figure.savefig(written, format="svg", metadata={"Date": None, "Creator": CREATOR})
        case _:
            figure.savefig(written, format="pdf", metadata={"Creator": CREATOR})
    return written.getvalue()


def _draw_task(task: TaskComparison, upper: Axes, lower: Axes, labels: list[str], *, first: bool) -> None:
    largest = max((point.size for method in task.methods for point in method.band), default=1)
    for panel in (upper, lower):
        panel.set_visible(True)
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.set_xlim(0.9, max(10, 1.3 * largest))
        panel.grid(visible=True, linewidth=0.4, color="0.9")
    upper.set_title(f"{task.subject.task} ({_seed_count(task)})")
    upper.set_ylim(0, MAX_FAITHFULNESS)
    upper.axhline(1, color="0.6", linewidth=0.6)
    lower.set_yscale("log")
    lower.set_ylim(MIN_ERROR, 1.5)
    lower.set_xlabel("nodes")
    upper.tick_params(labelbottom=False)
    if first:
        upper.set_ylabel("held-out faithfulness f")
        lower.set_ylabel("|1 − f|")
    for part in task.methods:
        _draw_method(part, upper, lower, labels.index(part.label))


def _seed_count(task: TaskComparison) -> str:
    """Returns how many seeds there are, counting the methods that a seed changes."""
    counts = [len(each.seeds) for each in task.methods if method(each.method).seeded] or [1]
    up_to = "" if min(counts) == max(counts) else "up to "
    return f"{up_to}{max(counts)} seed{'' if max(counts) == 1 else 's'}"


def _draw_method(part: MethodComparison, upper: Axes, lower: Axes, index: int) -> None:
    sizes = [point.size for point in part.band]
    bands = (
        (upper, [(point.test.low, point.test.median, point.test.high) for point in part.band]),
        (lower, [(point.error.low, point.error.median, point.error.high) for point in part.band]),
    )
    colour = COLOURS[index % len(COLOURS)]
    for panel, band in bands:
        low, median, high = (list(column) for column in zip(*band, strict=True)) if band else ([], [], [])
        panel.plot(
            sizes, median, drawstyle="steps-post", color=colour, linestyle=DASHES[index % len(DASHES)], linewidth=1.1,
            marker=MARKERS[index % len(MARKERS)], markersize=3, markevery=max(1, len(sizes) // MAX_MARKERS),
            label=part.label,
        )  # fmt: skip
        if len(part.seeds) > 1:
            panel.fill_between(sizes, low, high, step="post", color=colour, alpha=0.18, linewidth=0)
