"""One line with the names of the panes, for screens too small to show all of them at once."""

from __future__ import annotations

from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from circuit_tui.tui.drawing.line import StyledLine, cut
from circuit_tui.tui.drawing.styles import pane_styles_of

PANES = ("circuit", "latent", "prompts", "search", "frontier", "audit")


class PaneTabs(Widget):
    """``1 Circuit  2 Latent  3 Prompts  4 Search  5 Frontier  6 Audit``; the current one stands out."""

    class Chosen(Message):
        """The name of `pane` was clicked."""

        def __init__(self, pane: str) -> None:
            super().__init__()
            self.pane = pane

    def __init__(self) -> None:
        super().__init__(id="tabs")
        self._current = PANES[0]
        self._note = ""

    def show(self, current: str, note: str) -> None:
        """Mark the pane `current`, and write `note` at the right end."""
        if (current, note) != (self._current, self._note):
            self._current, self._note = current, note
            self.refresh()

    def _spans(self) -> list[tuple[str, int, int]]:
        spans, at = [], 1
        for index, pane in enumerate(PANES):
            length = len(f"{index + 1} {pane}")
            spans.append((pane, at, at + length))
            at += length + 2
        return spans

    def render_line(self, y: int) -> Strip:
        pane_styles, width = pane_styles_of(self), self.size.width
        line = StyledLine().add(" ")
        for index, pane in enumerate(PANES):
            chosen = pane == self._current
            line.add(f"{index + 1} ", pane_styles.key if not chosen else pane_styles.title)
            line.add(pane.capitalize(), pane_styles.title if chosen else pane_styles.muted).add("  ")
        note = cut(self._note, width - line.width - 1)
        line.pad_to(width - len(note) - 1).add(note, pane_styles.muted)
        return line.strip(width, self.rich_style)

    def on_click(self, event: events.Click) -> None:
        for pane, start, stop in self._spans():
            if start <= event.x < stop:
                self.post_message(self.Chosen(pane))
