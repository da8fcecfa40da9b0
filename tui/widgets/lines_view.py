"""Text that is drawn line by line, scrolling or not: the base of every pane that is read and not edited."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from typing_extensions import override

from circuit_tui.tui.drawing.styles import PaneStyles, pane_styles_of


class LinesView(ScrollView, can_focus=False, inherit_bindings=False):
    """Shows the lines that `build` returns for the current width. They do not scroll."""

    DEFAULT_CSS = "LinesView { overflow: hidden hidden; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: list[Strip] = []

    @property
    def pane_styles(self) -> PaneStyles:
        """The styles to draw with."""
        return pane_styles_of(self)

    def build(self, width: int) -> list[Strip]:
        """Return the lines for a view `width` cells wide."""
        raise NotImplementedError

    def rebuild(self) -> None:
        """Draw the lines that have changed. Without a width yet it does nothing: a resize will follow."""
        width = self.scrollable_content_region.width
        if width <= 0:
            return
        old, self._lines = self._lines, self.build(width)
        if len(old) != len(self._lines):
            # The width stays out of it: nothing scrolls sideways, and each new size is a new layout of the screen.
            self.virtual_size = Size(1, max(1, len(self._lines)))
            self.refresh()
            return
        for y, (before, after) in enumerate(zip(old, self._lines, strict=True)):
            if before != after:
                self.refresh_line(y)

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self.rebuild())

    def on_resize(self, event: events.Resize) -> None:
        self.rebuild()

    @override
    def render_line(self, y: int) -> Strip:
        index = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        if index >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        return self._lines[index].adjust_cell_length(width).apply_style(self.rich_style)


class ScrollingLines(LinesView, can_focus=True):
    """Lines that scroll."""

    DEFAULT_CSS = "ScrollingLines { overflow-y: auto; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "scroll_down", show=False),
        Binding("up,k", "scroll_up", show=False),
        Binding("g,home", "scroll_home", show=False),
        Binding("G,end", "scroll_end", show=False),
        Binding("pagedown,ctrl+d", "page_down", show=False),
        Binding("pageup,ctrl+u", "page_up", show=False),
    ]
