"""A list with a cursor, drawn line by line: twenty thousand lines cost no more than twenty."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from circuit_tui.tui.drawing.styles import PaneStyles, pane_styles_of


class LineList(ScrollView, can_focus=True):
    """The base of all lists. A subclass sets the number of lines and draws each, and binds `choose` if it has a use."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "cursor_by(1)", show=False),
        Binding("up,k", "cursor_by(-1)", show=False),
        Binding("pagedown,ctrl+d", "cursor_page(1)", show=False),
        Binding("pageup,ctrl+u", "cursor_page(-1)", show=False),
        Binding("g,home", "cursor_to(0)", show=False),
        Binding("G,end", "cursor_to(-1)", show=False),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.cursor = 0
        self._length = 0
        self._drawn: dict[int, Strip] = {}

    @property
    def pane_styles(self) -> PaneStyles:
        """The styles to draw with."""
        return pane_styles_of(self)

    @property
    def has_lines(self) -> bool:
        """Whether the list is not empty."""
        return self._length > 0

    def line(self, index: int, width: int) -> Strip:
        """Return line `index`, drawn in `width` cells."""
        raise NotImplementedError

    def empty_lines(self, width: int) -> list[Strip]:
        """Return the lines of an empty list: they say what to press to fill it."""
        return []

    def cursor_moved(self) -> None:
        """Called after the cursor has moved to another line."""

    def chosen(self) -> None:
        """Called on Enter and on a second click on the line under the cursor."""

    def set_length(self, length: int, cursor: int | None = None) -> None:
        """Set the number of lines, and the line of the cursor; None leaves it where it is."""
        self._length = length
        self.virtual_size = Size(1, length)  # nothing scrolls sideways
        target = self.cursor if cursor is None else cursor
        self.cursor = max(0, min(target, length - 1))
        self._show_cursor()
        self.refresh()

    def refresh_changed(self) -> None:
        """Draw those visible lines again that would look different now."""
        for y in range(self.scrollable_content_region.height):
            if self._drawn.get(y) != (strip := self._draw(y)):
                self._drawn[y] = strip
                self.refresh_line(y + self.scroll_offset.y)

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self.refresh())

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._show_cursor)

    def on_focus(self) -> None:
        self.refresh_line(self.cursor)

    def on_blur(self) -> None:
        self.refresh_line(self.cursor)

    def move_cursor(self, index: int) -> None:
        """Put the cursor on line `index` and bring it into view."""
        index = max(0, min(index, self._length - 1))
        if index == self.cursor or not self._length:
            return
        old, self.cursor = self.cursor, index
        self.refresh_line(old)
        self.refresh_line(index)
        self._show_cursor()
        self.cursor_moved()

    def _show_cursor(self) -> None:
        height = self.scrollable_content_region.height
        top = self.scroll_offset.y
        if height <= 0:
            return
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False)

    def action_choose(self) -> None:
        self.chosen()

    def action_cursor_by(self, step: int) -> None:
        self.move_cursor(self.cursor + step)

    def action_cursor_page(self, pages: int) -> None:
        self.move_cursor(self.cursor + pages * max(1, self.scrollable_content_region.height - 1))

    def action_cursor_to(self, index: int) -> None:
        self.move_cursor(index if index >= 0 else self._length - 1)

    def on_click(self, event: events.Click) -> None:
        index = event.y + self.scroll_offset.y
        if index >= self._length:
            return
        if index == self.cursor and event.chain > 1:
            self.chosen()
        else:
            self.move_cursor(index)

    def render_line(self, y: int) -> Strip:
        strip = self._drawn[y] = self._draw(y)
        return strip

    def _draw(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        base = self.rich_style
        if not self._length:
            lines = self.empty_lines(width)
            return (lines[y] if y < len(lines) else Strip.blank(width)).adjust_cell_length(width).apply_style(base)
        index = y + self.scroll_offset.y
        if index >= self._length:
            return Strip.blank(width, base)
        strip = self.line(index, width).adjust_cell_length(width)
        if index == self.cursor:
            return with_cursor(
                strip, self.pane_styles.cursor if self.has_focus else self.pane_styles.faint_cursor
            ).apply_style(base)
        return strip.apply_style(base)


def with_cursor(strip: Strip, style: Style) -> Strip:
    """Apply the cursor's style to a line: a background goes beneath its colours, reverse and underline over them."""
    if style.bgcolor is not None:
        return strip.apply_style(style)
    # The line's colours are dropped: reversed, they would make a patchwork. Its weight stays.
    bold = style + Style(bold=True)
    return Strip([Segment(text, bold if own and own.bold else style) for text, own, _ in strip], strip.cell_length)
