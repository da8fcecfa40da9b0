"""One line with the names of the panes, where not all of them are on the screen at once."""

from __future__ import annotations

from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from circuit_tui.tui.actions import PANES
from circuit_tui.tui.drawing.line import StyledLine
from circuit_tui.tui.drawing.styles import pane_styles_of

SHORT = {name: name.capitalize() for name in PANES} | {
    "circuit": "Circ",
    "prompts": "Prompt",
    "frontier": "Front",
    "circuits": "Files",
}
"""The names of the panes in a line that has no room for the whole ones."""


class PaneTabs(Widget):
    """``1 Circuit  2 Latent  3 Prompts  4 Search …``; the current one stands out.

    Names have precedence over the note, of which the first word may be left. Names that do not fit are shortened as
    `SHORT` says.
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
        """Each pane and its name in the line, with the blanks behind it."""
        full = {pane: pane.capitalize() for pane in PANES}
        other = {**SHORT, self._current: full[self._current]}
        forms = ((full, "  "), (full, " "), (other, " "), (SHORT, " "))
        lines = [[(pane, names[pane] + gap) for pane in PANES] for names, gap in forms]
        for note in (self._short_note, ""):
            for line in lines:
                if 1 + sum(len(PANES[pane]) + 1 + len(name) for pane, name in line) + len(note) <= self.size.width:
                    return line
        return lines[-1]

    @property
    def _short_note(self) -> str:
        """The first word of the note, apart from the names."""
        return f"· {self._note.partition(':')[0].partition(' ')[0]}" if self._note else ""

    def render_line(self, y: int) -> Strip:
        pane_styles, width = pane_styles_of(self), self.size.width
        line = StyledLine().add(" ")
        for pane, name in self._names():
            chosen = pane == self._current
            line.add(f"{PANES[pane]} ", pane_styles.title if chosen else pane_styles.key)
            line.add(name, pane_styles.title if chosen else pane_styles.muted)
        for note in (self._note, self._short_note):
            if line.width + len(note) <= width:
                line.pad_to(width - len(note) - (line.width + len(note) < width)).add(note, pane_styles.muted)
                break
        return line.strip(width, self.rich_style)

    def on_click(self, event: events.Click) -> None:
        at = 1
        for pane, name in self._names():
            stop = at + len(PANES[pane]) + 1 + len(name)
            if at <= event.x < at + len(PANES[pane]) + 1 + len(name.rstrip()):
                self.post_message(self.Chosen(pane))
            at = stop
