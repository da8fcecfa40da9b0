"""The frame around the panes: the strip, the names of the panes, the progress of opening, the keys.

At first the terminal shows this screen alone. The explorer's screen, which adds the panes, takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import Static

from circuit_tui.tui.actions import BY_NAME
from circuit_tui.tui.explorer_protocol import Explorer
from circuit_tui.tui.widgets.faithfulness_strip import FaithfulnessStrip
from circuit_tui.tui.widgets.key_footer import KeyFooter
from circuit_tui.tui.widgets.loading import Loading
from circuit_tui.tui.widgets.pane_tabs import PaneTabs

SMALLEST = (80, 24)
WIDE, TALL = 120, 28  # from so many columns and lines on, panes are beside and above each other
WRITE_TIME = 0.02  # seconds for Textual's writer thread to write a frame


class FrameScreen(Screen[None]):
    """The screen without panes."""

    BINDINGS: ClassVar[list[BindingType]] = [BY_NAME["leave"].binding()]

    def __init__(self, explorer: Explorer) -> None:
        super().__init__()
        self.explorer = explorer

    def compose(self) -> ComposeResult:
        yield FaithfulnessStrip()
        yield PaneTabs()
        yield Loading()
        yield from self.compose_body()
        yield KeyFooter()
        yield Static(id="too-small")

    def compose_body(self) -> ComposeResult:
        """The widgets between the names of the panes and the keys, seen once the session is open."""
        return ()

    def on_mount(self) -> None:
        self.fit()

    def on_resize(self, event: events.Resize) -> None:
        self.fit()

    def fit(self) -> None:
        """Arrange the screen for the size of the terminal, or say that the terminal is too small."""
        size = self.app.size
        small = size.width < SMALLEST[0] or size.height < SMALLEST[1]
        notice = self.query_one("#too-small", Static)
        notice.display = small
        if small:
            notice.update(
                f"The terminal is {size.width}×{size.height}.\n"
                f"The explorer needs {SMALLEST[0]}×{SMALLEST[1]}: please enlarge it."
            )
        self.query_one(PaneTabs).display = size.width < WIDE or size.height < TALL

    def when_drawn(self, callback: Callable[[], None]) -> None:
        """Call `callback`, which may hold the interpreter for long, once the terminal shows the current frame."""
        self.call_after_refresh(lambda: self.set_timer(WRITE_TIME, callback))

    def action_leave(self) -> None:
        self.explorer.action_leave()
