"""Building blocks of a line on the screen: pieces of text with a style, measured in cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.content import Content
from textual.strip import Strip

NO_STYLE = Style()
DIRECTION = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))  # they turn the line around
CONTROL = dict.fromkeys((*range(32), *range(127, 160), *DIRECTION), "·")  # terminals obey the upper range too


def printable(text: str) -> str:
    """`text` with line breaks, tabs and control codes replaced by visible, harmless characters, one for one."""
    return text.replace("\n", "↵").replace("\t", "→").translate(CONTROL)


def token_text(token: str) -> str:
    """A single token as it is shown in a list of tokens: its blanks are seen."""
    return printable(token).replace(" ", "␣")


def plain(text: str) -> Content:
    """`text` for a title, a label or an option of Textual, which would parse a string as markup."""
    return Content(printable(text))


SINK = "◦"
"""The mark behind a token that is an attention sink."""


def spaced(tokens: Sequence[str]) -> list[str]:
    """Printable tokens, to be joined: if no token brings its own space, each but the first gets one."""
    shown = [printable(token.replace("▁", " ")) for token in tokens]
    if len(shown) < 2 or any(token.startswith(" ") for token in shown):
        return shown
    return [shown[0], *(" " + token for token in shown[1:])]


def name_of(place: str) -> str:
    """The name of a model or SAE that is given by a name or by the path of its folder.

    Of a path it is the last part that tells something: ``~/gpt2-ft/model`` is ``gpt2-ft/model``.
    """
    path = PurePath(place)
    if not (path.is_absolute() or place.startswith((".", "~"))) or path.name in ("", ".", ".."):
        return place
    plain = path.name.lower() in ("model", "sae", "checkpoint", "final", "weights") and path.parent.name
    return f"{path.parent.name}/{path.name}" if plain else path.name


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells, with an ellipsis if something is cut off."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)) + "…" if width > 0 else ""


def cut_middle(text: str, width: int) -> str:
    """`text` in at most `width` cells, with an ellipsis in its middle if something is cut out."""
    if cell_len(text) <= width or width < 3:
        return cut(text, width)
    before = set_cell_size(text, (width - 1) // 2).rstrip()
    after, room = "", width - 1 - cell_len(before)
    for letter in reversed(text):
        if cell_len(after) + cell_len(letter) > room:
            break
        after = letter + after
    return f"{before}…{after}"


def widest(texts: Iterable[str], least: int) -> int:
    """The width in cells of the longest of `texts`, at least `least`. Names get it: two names may differ at the end."""
    return max([least, *map(cell_len, texts)])


class StyledLine:
    """A line under construction, from left to right; `width` is in cells."""

    __slots__ = ("_segments", "width")

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self.width = 0

    def add(self, text: str, style: Style = NO_STYLE) -> StyledLine:
        """Append `text`, `printable`."""
        if text:
            if not text.isprintable():
                text = printable(text)
            self._segments.append(Segment(text, style))
            self.width += len(text) if text.isascii() else cell_len(text)
        return self

    def left(self, text: str, width: int, style: Style = NO_STYLE) -> StyledLine:
        """Append `text`, `printable`, cut or padded on the right to `width`."""
        if not text.isprintable():
            text = printable(text)
        simple = text.isascii() and len(text) <= width
        text = text.ljust(width) if simple else set_cell_size(cut(text, width), width)
        self._segments.append(Segment(text, style))
        self.width += width
        return self

    def right(self, text: str, width: int, style: Style = NO_STYLE) -> StyledLine:
        """Append `text`, `printable`, cut or padded on the left to `width`."""
        text = cut(text if text.isprintable() else printable(text), width)
        return self.add(" " * (width - cell_len(text)) + text, style)

    def pad_to(self, column: int) -> StyledLine:
        """Append blanks up to `column`."""
        return self.add(" " * (column - self.width))

    def join(self, other: Strip) -> StyledLine:
        """Append a finished strip."""
        self._segments.extend(other)
        self.width += other.cell_length
        return self

    def strip(self, width: int | None = None, style: Style | None = None) -> Strip:
        """The finished line as Textual's strip, cut or padded to `width`, with `style` beneath."""
        strip = Strip(self._segments, self.width)
        if width is not None:
            strip = strip.adjust_cell_length(width, NO_STYLE)
        return strip if style is None else strip.apply_style(style)


def wrap(text: str, width: int) -> list[str]:
    """Break `text` at its spaces into lines of at most `width` cells; a longer word keeps a line to itself."""
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


def side_by_side(columns: list[tuple[list[Strip], int]], gap: int = 2) -> list[Strip]:
    """Put blocks of lines side by side. `columns` holds each block and its width, `gap` is the distance in cells."""
    height = max((len(lines) for lines, _ in columns), default=0)
    joined = []
    for y in range(height):
        line = StyledLine()
        at = 0
        for lines, width in columns:
            line.pad_to(at)
            if y < len(lines):
                line.join(lines[y].adjust_cell_length(width))
            at += width + gap
        joined.append(line.strip())
    return joined
