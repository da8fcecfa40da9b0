"""A Textual screen as an SVG that looks the same everywhere and fetches nothing.

Textual's own export names a font on the web. Here every word has its place and its width, so any monospace font of the
reader's machine will do, and what must meet without gaps (braille, blocks, frames) is drawn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from rich.color import Color
from rich.style import Style

WIDTH, HEIGHT = 10, 20  # of a cell
BASELINE, FONT_SIZE = 15, 16.6
FONTS = "DejaVu Sans Mono, Menlo, Consolas, Liberation Mono, ui-monospace, monospace"
FOREGROUND, BACKGROUND = "#d8dee9", "#12171d"
MARGIN, RADIUS = 8, 6
# Frames: which of left, right, up and down a line goes to.
ARMS = {"─": "lr", "│": "ud", "┤": "lud", "├": "rud", "╭": "rd", "╮": "ld", "╰": "ru", "╯": "lu", "━": "LR", "┈": ".."}
DOTS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))  # (column, row) of each bit of a braille sign
BOTTOM, LEFT = "▁▂▃▄▅▆▇█", "▏▎▍▌▋▊▉"  # blocks of 1/8 to 8/8 from the bottom, of 1/8 to 7/8 from the left

Cell = tuple[int, int, str, Style]


def svg(rows: Sequence[Any], size: tuple[int, int]) -> str:
    """The SVG of `rows`, the strips of a screen of `size` (columns, lines)."""
    width, height = size[0] * WIDTH + 2 * MARGIN, size[1] * HEIGHT + 2 * MARGIN
    cells = list(_cells(rows))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f'<rect width="{width}" height="{height}" rx="{RADIUS}" fill="{BACKGROUND}"/>',
        f'<g transform="translate({MARGIN} {MARGIN})" font-family="{FONTS}" font-size="{FONT_SIZE}">',
        *_backgrounds(cells),
        *_shapes(cells),
        *_letters(cells),
        "</g>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _cells(rows: Sequence[Any]) -> Iterator[Cell]:
    for y, strip in enumerate(rows):
        x = 0
        for text, style, control in strip:
            if not control:
                for letter in text:
                    yield x, y, letter, style or Style.null()
                    x += 1


def _hex(color: Color | None, default: str) -> str:
    return default if color is None or color.is_default else color.get_truecolor().hex


def _colors(style: Style) -> tuple[str, str]:
    """Foreground and background."""
    fore, back = _hex(style.color, FOREGROUND), _hex(style.bgcolor, BACKGROUND)
    return (back, fore) if style.reverse else (fore, back)


def _backgrounds(cells: Sequence[Cell]) -> Iterator[str]:
    """One rectangle for each run of one colour."""
    runs: list[tuple[int, int, int, str]] = []
    for x, y, _, style in cells:
        color = _colors(style)[1]
        if color == BACKGROUND:
            continue
        if runs and runs[-1][1:] == (y, x, color):
            runs[-1] = (runs[-1][0], y, x + 1, color)
        else:
            runs.append((x, y, x + 1, color))
    for start, y, stop, color in runs:
        yield _rect(start * WIDTH, y * HEIGHT, (stop - start) * WIDTH, HEIGHT, color)


def _rect(x: float, y: float, width: float, height: float, color: str) -> str:
    where = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return f'<rect {where} fill="{color}" shape-rendering="crispEdges"/>'


def _shapes(cells: Sequence[Cell]) -> Iterator[str]:
    """What is drawn rather than written: all of one colour and weight is one path."""
    filled, lines = defaultdict(list), defaultdict(list)
    for column, row, letter, style in cells:
        x, y, color = column * WIDTH, row * HEIGHT, _colors(style)[0]
        if 0x2800 < ord(letter) < 0x2900:
            on = [dot for bit, dot in enumerate(DOTS) if (ord(letter) - 0x2800) >> bit & 1]
            filled[color] += [f"M{x + 1 + 5 * across} {y + 1 + 5 * down}h3v3h-3z" for across, down in on]
        elif letter in BOTTOM:
            high = (BOTTOM.index(letter) + 1) * HEIGHT / 8
            filled[color].append(f"M{x} {y + HEIGHT}v{-high:g}h{WIDTH}v{high:g}z")
        elif letter in LEFT:
            wide = (LEFT.index(letter) + 1) * WIDTH / 8
            filled[color].append(f"M{x} {y}h{wide:g}v{HEIGHT}h{-wide:g}z")
        elif letter in ARMS:
            heavy = 2.5 if ARMS[letter].isupper() else 1
            lines[color, heavy].append(_frame(ARMS[letter], x + WIDTH / 2, y + HEIGHT / 2))
    for color, path in filled.items():
        yield f'<path fill="{color}" shape-rendering="crispEdges" d="{"".join(path)}"/>'
    for (color, weight), path in lines.items():
        yield f'<path stroke="{color}" stroke-width="{weight}" fill="none" d="{"".join(path)}"/>'


def _frame(arms: str, x: float, y: float) -> str:
    if arms == "..":
        return f"M{x - 4:g} {y:g}h2M{x:g} {y:g}h2"
    ends = {"l": f"h{-WIDTH / 2:g}", "r": f"h{WIDTH / 2:g}", "u": f"v{-HEIGHT / 2:g}", "d": f"v{HEIGHT / 2:g}"}
    return "".join(f"M{x:g} {y:g}{ends[arm]}" for arm in arms.lower())


def _letters(cells: Sequence[Cell]) -> Iterator[str]:
    """The words, and pieces of words, that look alike; each with its own place and width."""
    words: list[tuple[int, int, str, bool, str]] = []
    for x, y, letter, style in cells:
        color, bold = _colors(style)[0], bool(style.bold)
        if style.underline:
            yield _rect(x * WIDTH, (y + 1) * HEIGHT - 2, WIDTH, 1, color)
        if letter.isspace() or letter in ARMS or letter in BOTTOM or letter in LEFT or 0x2800 <= ord(letter) < 0x2900:
            continue
        if words and (words[-1][0] + len(words[-1][4]), *words[-1][1:4]) == (x, y, color, bold):
            words[-1] = (*words[-1][:4], words[-1][4] + letter)
        else:
            words.append((x, y, color, bold, letter))
    for x, y, color, bold, text in words:
        where = f'x="{x * WIDTH}" y="{y * HEIGHT + BASELINE}" textLength="{len(text) * WIDTH}"'
        weight = ' font-weight="bold"' if bold else ""
        yield f'<text {where} fill="{color}"{weight}>{escape(text)}</text>'
