"""Text drawn line by line, scrolling or not: the base of everything that is read, not edited."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from circuit_tui.tui.drawing.styles import PaneStyles, pane_styles_for
from circuit_tui.tui.drawing.themes import DARK


def pane_styles_of(widget: Widget) -> PaneStyles:
    """The styles of the app that `widget` is in; those of the dark theme outside of ours (in a bare test app)."""
    pane_styles = getattr(widget.app, "pane_styles", None)
    return pane_styles if isinstance(pane_styles, PaneStyles) else pane_styles_for(DARK)


class Lines(Widget):
    """Lines that do not scroll: shows what `build` returns for the current width; `rebuild` asks for it anew."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: list[Strip] = []

    @property
    def pane_styles(self) -> PaneStyles:
        """The styles to draw with."""
        return pane_styles_of(self)

    def build(self, width: int) -> list[Strip]:
        """The lines for a place `width` cells wide."""
        raise NotImplementedError

    def rebuild(self) -> None:
        """Draw anew, if there is a place to draw at (else a resize will come). Same lines cost nothing."""
        width = self.content_region.width
        if width <= 0:
            return
        old, self._lines = self._lines, self.build(width)
        if len(old) != len(self._lines):
            self.refresh(layout=self.styles.is_auto_height)
            return
        for y, (before, after) in enumerate(zip(old, self._lines, strict=True)):
            if before != after:
                self.refresh(Region(0, y, self.size.width, 1))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return max(1, len(self._lines))

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self.rebuild())

    def on_resize(self, event: events.Resize) -> None:
        self.rebuild()

    def render_line(self, y: int) -> Strip:
        width = self.content_region.width
        if y >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        return self._lines[y].adjust_cell_length(width).apply_style(self.rich_style)


class LinesView(ScrollView, can_focus=True):
    """Shows what `build` returns for the current width; `rebuild` asks for it anew."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "scroll_down", show=False),
        Binding("up,k", "scroll_up", show=False),
        Binding("g,home", "scroll_home", show=False),
        Binding("G,end", "scroll_end", show=False),
        Binding("pagedown,ctrl+d", "page_down", show=False),
        Binding("pageup,ctrl+u", "page_up", show=False),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: list[Strip] = []

    @property
    def pane_styles(self) -> PaneStyles:
        """The styles to draw with."""
        return pane_styles_of(self)

    def build(self, width: int) -> list[Strip]:
        """The lines for a pane `width` cells wide."""
        raise NotImplementedError

    def rebuild(self) -> None:
        """Draw anew, if there is a place to draw at (else a resize will come). Same lines cost nothing."""
        width = self.scrollable_content_region.width
        if width <= 0:
            return
        old, self._lines = self._lines, self.build(width)
        if len(old) != len(self._lines):
            # The width stays out of it: nothing scrolls sideways, and each new size is a new layout of the screen.
            self.virtual_size = Size(1, len(self._lines))
            self.refresh()
            return
        for y, (before, after) in enumerate(zip(old, self._lines, strict=True)):
            if before != after:
                self.refresh_line(y)

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self.rebuild())

    def on_resize(self, event: events.Resize) -> None:
        self.rebuild()

    def render_line(self, y: int) -> Strip:
        index = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        if index >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        return self._lines[index].adjust_cell_length(width).apply_style(self.rich_style)
