"""A line to type in, whatever is pasted into it."""

from __future__ import annotations

from rich.text import Text
from textual import events
from textual.suggester import Suggester
from textual.widgets import Input
from typing_extensions import override

from circuit_tui.tui.drawing.line import printable

LONGEST = 4096  # characters; nothing that is asked for is longer


class LineInput(Input):
    """An `Input` that draws control codes as harmless characters, and takes the first line of a paste."""

    def __init__(
        self,
        value: str = "",
        placeholder: str = "",
        *,
        id: str | None = None,
        compact: bool = True,
        suggester: Suggester | None = None,
        select_on_focus: bool = False,
    ) -> None:
        super().__init__(
            value,
            placeholder,
            id=id,
            compact=compact,
            suggester=suggester,
            select_on_focus=select_on_focus,
            max_length=LONGEST,
        )
        self.cursor_blink = False

    @property
    @override
    def _value(self) -> Text:
        return Text(printable(self.value), no_wrap=True, overflow="ignore", end="")

    @override
    def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()  # Textual calls the handlers of all base classes
        event.stop()
        lines = event.text.splitlines()
        room = max(0, LONGEST - len(self.value) + len(self.selected_text))
        line = "".join(c for c in lines[0][: room + 1] if c.isprintable()) if lines else ""
        if len(line) > room:
            self.notify(f"Only the first {room:,} characters were pasted.", severity="warning")
        if line := line[:room]:
            self.replace(line, *self.selection)
