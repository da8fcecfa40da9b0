"""The bottom line: the most useful keys in the pane with the focus. A click does the same as the key."""

from __future__ import annotations

from textual import events
from textual.strip import Strip
from textual.widget import Widget

from circuit_tui.tui.actions import ALWAYS, BY_NAME, HINTS, Action
from circuit_tui.tui.drawing.line import StyledLine
from circuit_tui.tui.drawing.styles import pane_styles_of

EXTRA: dict[str, tuple[tuple[str, str], ...]] = {
    "circuit": (),
    "latent": (("↑↓", "scroll"),),
    "prompts": (("↑↓", "move"), ("enter", "open")),
    "search": (("tab", "next field"),),
    "audit": (("↑↓", "move"), ("enter", "open")),
    "edges": (("enter", "follow"), ("backspace", "back")),
    "frontier": (("←→", "move along"), ("enter", "load")),
    "circuits": (("enter", "load"),),
    "try": (("tab", "fields"), ("→", "take apart"), ("←", "close")),
}


class KeyFooter(Widget):
    """Shows as many keys as fit; help and quit are always among them."""

    def __init__(self) -> None:
        super().__init__(id="footer")
        self._pane = "circuit"
        self._spans: list[tuple[int, int, str]] = []

    def show(self, pane: str) -> None:
        """Show the keys of `pane`."""
        if pane != self._pane:
            self._pane = pane
            self.refresh()

    def render_line(self, y: int) -> Strip:
        pane_styles, width = pane_styles_of(self), self.size.width
        tail = [BY_NAME[name] for name in ALWAYS]
        room = width - sum(_width(action.shown, _word(action)) for action in tail)
        line = StyledLine().add(" ")
        self._spans = []
        for key, word in EXTRA[self._pane]:
            if line.width + _width(key, word) <= room:
                line.add(f"{key} ", pane_styles.key).add(f"{word}  ", pane_styles.muted)
        for action in [BY_NAME[name] for name in HINTS[self._pane]] + tail:
            if action in tail or line.width + _width(action.shown, _word(action)) <= room:
                start = line.width
                line.add(f"{action.shown} ", pane_styles.key).add(f"{_word(action)}  ", pane_styles.muted)
                self._spans.append((start, line.width, action.name))
        return line.strip(width, self.rich_style)

    async def on_click(self, event: events.Click) -> None:
        for start, stop, name in self._spans:
            if start <= event.x < stop:
                await self.screen.run_action(name)


def _word(action: Action) -> str:
    return action.hint or action.title.lower()


def _width(key: str, word: str) -> int:
    return len(key) + len(word) + 3
