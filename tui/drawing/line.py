"""One line of a screen under construction: pieces of text that know their width in cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

NO_STYLE = Style()
CONTROL = dict.fromkeys((*range(32), *range(127, 160)), "·")  # terminals obey the upper ones too


def printable(text: str) -> str:
    """Text of a prompt or token with line breaks, tabs and control codes made visible and harmless."""
    return text.replace("\n", "↵").replace("\t", "→").translate(CONTROL)


def spaced(tokens: Sequence[str]) -> list[str]:
    """Tokens as they are read one after another: where none brings its own space, each but the first gets one."""
    shown = [printable(token.replace("▁", " ")) for token in tokens]
    if len(shown) < 2 or any(token.startswith(" ") for token in shown):
        return shown
    return [shown[0], *(" " + token for token in shown[1:])]


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells, with an ellipsis where something is missing."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)) + "…" if width > 0 else ""


def room_for(texts: Iterable[str], least: int) -> int:
    """Cells that the longest of `texts` takes, `least` at least: a name that is cut may be another's."""
    return max([least, *map(cell_len, texts)])


class Line:
    """Collects segments from left to right."""

    __slots__ = ("_segments", "width")

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self.width = 0

    def add(self, text: str, style: Style = NO_STYLE) -> Line:
        """Append `text` as it is."""
        if text:
            self._segments.append(Segment(text, style))
            self.width += len(text) if text.isascii() else cell_len(text)
        return self

    def left(self, text: str, width: int, style: Style = NO_STYLE) -> Line:
        """Append `text` cut or padded on the right to `width`."""
        simple = text.isascii() and len(text) <= width
        text = text.ljust(width) if simple else set_cell_size(cut(text, width), width)
        self._segments.append(Segment(text, style))
        self.width += width
        return self

    def right(self, text: str, width: int, style: Style = NO_STYLE) -> Line:
        """Append `text` cut or padded on the left to `width`."""
        text = cut(text, width)
        return self.add(" " * (width - cell_len(text)) + text, style)

    def to(self, column: int) -> Line:
        """Append blanks up to `column`."""
        return self.add(" " * (column - self.width))

    def join(self, other: Strip) -> Line:
        """Append a finished strip."""
        self._segments.extend(other)
        self.width += other.cell_length
        return self

    def strip(self, width: int | None = None, style: Style | None = None) -> Strip:
        """The finished line, cut or padded to `width`, with `style` beneath."""
        strip = Strip(self._segments, self.width)
        if width is not None:
            strip = strip.adjust_cell_length(width, NO_STYLE)
        return strip if style is None else strip.apply_style(style)


def wrap(text: str, width: int) -> list[str]:
    """Words of `text` in lines of at most `width` cells."""
    lines: list[str] = []
    current = ""
    for word in text.split():
        joined = f"{current} {word}" if current else word
        if cell_len(joined) <= width or not current:
            current = joined
        else:
            lines.append(current)
            current = word
    return [*lines, current] if current else lines


def beside(columns: list[tuple[list[Strip], int]], gap: int = 2) -> list[Strip]:
    """Lay blocks of lines, each with its width, side by side."""
    height = max((len(lines) for lines, _ in columns), default=0)
    joined = []
    for y in range(height):
        line = Line()
        at = 0
        for lines, width in columns:
            line.to(at)
            if y < len(lines):
                line.join(lines[y].adjust_cell_length(width))
            at += width + gap
        joined.append(line.strip())
    return joined
