"""One line with the names of the panes, where not all of them are on the screen at once."""

from __future__ import annotations

from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from circuit_tui.tui.actions import PANES
from circuit_tui.tui.drawing.line import StyledLine, cut
from circuit_tui.tui.drawing.styles import pane_styles_of


class PaneTabs(Widget):
    """``1 Circuit  2 Latent  3 Prompts  4 Search …``; the current one stands out.

    Where names and note do not fit, the names of the other panes are cut to as many letters as fit.
    """

    class Chosen(Message):
        """The name of `pane` was clicked."""

        def __init__(self, pane: str) -> None:
            super().__init__()
            self.pane = pane

    def __init__(self) -> None:
        super().__init__(id="tabs")
        self._current = next(iter(PANES))
        self._note = ""

    def show(self, current: str, note: str) -> None:
        """Mark the pane `current`, and write `note` at the right end."""
        if (current, note) != (self._current, self._note):
            self._current, self._note = current, note
            self.refresh()

    def _names(self) -> list[tuple[str, str]]:
        """Each pane and its name in the line."""
        longest = max(map(len, PANES))
        for letters in range(longest, 1, -1):
            names = [(pane, pane.capitalize()[: longest if pane == self._current else letters]) for pane in PANES]
            note = len(self._note) + 1 if self._note else 0
            if 1 + sum(len(PANES[pane]) + len(name) + 3 for pane, name in names) + note <= self.size.width:
                break
        return names

    def render_line(self, y: int) -> Strip:
        pane_styles, width = pane_styles_of(self), self.size.width
        line = StyledLine().add(" ")
        for pane, name in self._names():
            chosen = pane == self._current
            line.add(f"{PANES[pane]} ", pane_styles.title if chosen else pane_styles.key)
            line.add(name, pane_styles.title if chosen else pane_styles.muted).add("  ")
        note = cut(self._note, width - line.width - 1)
        line.pad_to(width - len(note) - 1).add(note, pane_styles.muted)
        return line.strip(width, self.rich_style)

    def on_click(self, event: events.Click) -> None:
        at = 1
        for pane, name in self._names():
            stop = at + len(PANES[pane]) + 1 + len(name)
            if at <= event.x < stop:
                self.post_message(self.Chosen(pane))
            at = stop + 2
