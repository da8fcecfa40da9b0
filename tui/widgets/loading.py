"""The view until the session is open: a bar and the current stage, or why opening failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.strip import Strip

from circuit_tui.tui.drawing.line import StyledLine, cut, printable, wrap
from circuit_tui.tui.drawing.number_text import download_text
from circuit_tui.tui.engine.state import EngineState
from circuit_tui.tui.widgets.lines_view import LinesView

if TYPE_CHECKING:
    from circuit_tui.core.views import LoadProgress

BAR = 44


class Loading(LinesView):
    """Takes the place of the panes until the session is open."""

    def __init__(self) -> None:
        super().__init__(id="loading")
        self._state = EngineState()

    def show(self, state: EngineState) -> None:
        """Show the progress or the error in `state`."""
        self._state = state
        self.rebuild()

    def build(self, width: int) -> list[Strip]:
        height = max(8, self.content_region.height)
        lines = self._failed(width) if self._state.phase == "failed" else self._under_way(width)
        return [Strip.blank(1)] * ((height - len(lines)) // 2) + lines

    def _under_way(self, width: int) -> list[Strip]:
        pane_styles, load = self.pane_styles, self._state.load
        indent = max(2, (width - BAR) // 2)
        done, total, text = (load.done, load.total, load.text) if load else (0, 1, "starting")
        share = done / max(1, total)
        if load is not None and load.bytes_total:
            share = (load.bytes_done or 0) / load.bytes_total
        full = round(BAR * min(1.0, share))
        count = f"step {done + 1} of {total}" if load else ""
        return [
            StyledLine().pad_to(indent).add("Opening the session", pane_styles.title).strip(),
            Strip.blank(1),
            StyledLine()
            .pad_to(indent)
            .add("━" * full, pane_styles.key)
            .add("━" * (BAR - full), pane_styles.rule)
            .strip(),
            StyledLine().pad_to(indent).add(cut(count, BAR), pane_styles.muted).strip(),
            *(
                StyledLine().pad_to(indent).add(part, pane_styles.muted).strip()
                for part in wrap(printable(text), width - indent - 2)
            ),
            StyledLine().pad_to(indent).add(download_text(load) if load else "", pane_styles.strong).strip(),
            Strip.blank(1),
            StyledLine().pad_to(indent).add("q", pane_styles.key).add(_quit_hint(load), pane_styles.muted).strip(),
        ]

    def _failed(self, width: int) -> list[Strip]:
        pane_styles = self.pane_styles
        indent = 4 if width < 100 else (width - 92) // 2
        what = "This could not be opened" if self._state.table is None else "The engine stopped; quit and start again"
        lines = [StyledLine().pad_to(indent).add(what, pane_styles.strong + pane_styles.bad).strip(), Strip.blank(1)]
        lines += [
            StyledLine().pad_to(indent).add(text).strip()
            for text in wrap(printable(self._state.error), width - 2 * indent)
        ]
        lines += [
            Strip.blank(1),
            StyledLine().pad_to(indent).add("q", pane_styles.key).add(" quits", pane_styles.muted).strip(),
        ]
        return lines


def _quit_hint(load: LoadProgress | None) -> str:
    downloading = load is not None and load.bytes_total
    return " cancels; what has arrived is kept for the next time" if downloading else " quits at any time"
