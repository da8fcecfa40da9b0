"""What is on the screen from the first frame on: the strip, the names of the panes, how far the opening is, the keys.

The first frame is this screen alone. The explorer's screen has the same and its panes, and takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import Static

from circuit_tui.tui.actions import BY_NAME
from circuit_tui.tui.widgets.faithfulness_strip import FaithfulnessStrip
from circuit_tui.tui.widgets.key_footer import KeyFooter
from circuit_tui.tui.widgets.loading import Loading
from circuit_tui.tui.widgets.pane_tabs import PaneTabs

if TYPE_CHECKING:
    from circuit_tui.tui.app import ExplorerApp

SMALLEST = (80, 24)
WIDE = (120, 36)
WRITTEN = 0.02  # seconds for a frame to be written by the thread that does so


class FrameScreen(Screen[None]):
    """Composes what is around the panes, and tells a large screen from a small one."""

    app: ExplorerApp
    BINDINGS: ClassVar[list[BindingType]] = [*BY_NAME["leave"].bindings()]

    def __init__(self) -> None:
        super().__init__()
        self._wide = False

    def compose(self) -> ComposeResult:
        yield FaithfulnessStrip()
        yield PaneTabs()
        yield Loading()
        yield from self.compose_body()
        yield KeyFooter()
        yield Static(id="too-small")

    def compose_body(self) -> ComposeResult:
        """What is between the names of the panes and the keys once the session is open."""
        return ()

    def on_mount(self) -> None:
        self._place()

    def on_resize(self, event: events.Resize) -> None:
        self._place()

    def _place(self) -> None:
        size = self.app.size
        small = size.width < SMALLEST[0] or size.height < SMALLEST[1]
        notice = self.query_one("#too-small", Static)
        notice.display = small
        if small:
            notice.update(
                f"The terminal is {size.width}×{size.height}.\n"
                f"The explorer needs {SMALLEST[0]}×{SMALLEST[1]}: please enlarge it."
            )
        self._wide = size.width >= WIDE[0] and size.height >= WIDE[1]
        self.set_class(self._wide, "-wide")

    def when_drawn(self, callback: Callable[[], None]) -> None:
        """Calls `callback`, which may hold the interpreter for long, once the terminal has what is to be seen now."""
        self.call_after_refresh(lambda: self.set_timer(WRITTEN, callback))

    def action_leave(self) -> None:
        self.app.action_leave()
