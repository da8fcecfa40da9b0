"""An application that goes on after an error in a handler: it logs the error and tells the user in one line.

Textual ends an app at the first error. `MessagePump._dispatch_message` is where every handler of every widget runs, and
the loop around it breaks off when it raises, so the error has to be caught inside; `Widget.render_lines` draws.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from rich.segment import Segment
from textual import events
from textual._context import active_message_pump
from textual.app import App, ScreenStackError
from textual.dom import NoScreen
from textual.errors import NoWidget
from textual.geometry import Region
from textual.message import Message
from textual.message_pump import MessagePump
from textual.notifications import SeverityLevel
from textual.screen import ModalScreen, Screen
from textual.strip import Strip
from textual.widget import Widget
from textual.worker import WorkerFailed, get_current_worker
from typing_extensions import override

from circuit_tui.tui.drawing.line import printable
from circuit_tui.tui.input_order import InputOrder, is_busy

MOST_ERRORS = 20  # in `ERROR_WINDOW`; more, and the app ends: something fails again and again
ERROR_WINDOW = 10.0  # seconds
AT_THE_START = (events.Load, events.Compose, events.Mount)  # a widget that fails in these never runs

ResultT = TypeVar("ResultT")
log = logging.getLogger("circuit_tui")


class ResilientApp(App[ResultT]):
    """Survives errors in handlers, callbacks and timers, and clicks on widgets that are being removed.

    Attributes:
        log_hint: where the user finds the log.
        errors: the last errors, each with the time at which it came (seconds of the monotonic clock).
    """

    log_hint = "the log file"

    def __init__(self, *, ansi_color: bool | None = None) -> None:
        super().__init__(ansi_color=ansi_color)
        self.errors: deque[tuple[float, Exception]] = deque(maxlen=MOST_ERRORS)
        self._told: tuple[float, str] = (0.0, "")
        self._undrawn: WeakKeyDictionary[Widget, float] = WeakKeyDictionary()
        self._order = InputOrder(self, self._deliver, self.has_work)

    def handler_failed(self, error: Exception) -> None:
        """Log `error` and tell the user; end the app if errors do not stop coming."""
        error = error.error if isinstance(error, WorkerFailed) and isinstance(error.error, Exception) else error
        if self._exit:
            log.debug("an error while the screen is taken down", exc_info=error)
            return
        log.error("an error in the screen's thread", exc_info=error)
        now = time.monotonic()
        oldest = self.errors[0][0] if len(self.errors) == MOST_ERRORS else now - ERROR_WINDOW
        self.errors.append((now, error))
        if now - oldest < ERROR_WINDOW:
            super()._handle_exception(error)
            return
        line = f"Something failed: {type(error).__name__}: {' '.join(str(error).split())}"
        if self._told[1] != line or now - self._told[0] > ERROR_WINDOW:
            self._told = now, line
            self.notify(f"{line} (details: {self.log_hint})", severity="error", timeout=12)

    @override
    def _handle_exception(self, error: Exception) -> None:
        pump = active_message_pump.get(None)
        if isinstance(error, WorkerFailed):
            pump = get_current_worker().node
        if isinstance(pump, Widget) and is_going(pump):
            log.debug("an error in a widget that has been removed", exc_info=error)
        elif self.is_running and not (isinstance(pump, Widget) and not pump.is_mounted):
            self.handler_failed(error)
        elif self.is_running and isinstance(pump, Widget) and isinstance(dialog := pump.screen, ModalScreen):
            self.handler_failed(error)
            self.call_later(self._drop, dialog)  # it would stand there without life
        else:
            log.error("the screen failed at its start", exc_info=error)
            super()._handle_exception(error)

    def _drop(self, dialog: Screen[Any]) -> None:
        if self.screen_stack[-1:] == [dialog]:
            self.pop_screen()

    def drawing_failed(self, widget: Widget, error: Exception) -> None:
        """Tell that `widget` could not be drawn. It fails again each time that it is, so this is told now and then."""
        now = time.monotonic()
        if now - self._undrawn.get(widget, now - 2 * ERROR_WINDOW) > ERROR_WINDOW:
            self._undrawn[widget] = now
            self.handler_failed(error)

    @override
    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a toast. Its text is never markup: it holds names of files, tokens and errors."""
        text = "\n".join(printable(line) for line in message.split("\n"))
        super().notify(text, title=title, severity=severity, timeout=timeout, markup=False)

    @override
    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.InputEvent | events.Paste) and not event.is_forwarded:
            await self._order.take(event)
        elif isinstance(event, events.Key) and self.screen_stack and not self.screen.is_mounted:
            # It was on its way through a screen that has been covered since: it is for the new one, once that lives.
            await self._order.take(events.Key(event.key, event.character))
        else:
            await super().on_event(event)

    def has_work(self) -> bool:
        """Whether something that a key or click has asked for is still to be done; the next one waits meanwhile."""
        return is_busy(self)

    async def _deliver(self, event: events.Event) -> None:
        """Give the app an event of the terminal, unless nobody is there for it any more."""
        if not self._exit and not (isinstance(event, events.MouseEvent) and self._over_removed(event)):
            await super().on_event(event)

    def _over_removed(self, event: events.MouseEvent) -> bool:
        """Whether the mouse is over a widget that has been removed but is still drawn, such as a toast that ends."""
        try:
            widget, _ = self.get_widget_at(event.x, event.y)
        except (NoWidget, ScreenStackError):
            return False
        return not widget.is_attached


def is_going(widget: Widget) -> bool:
    """Whether `widget` or its screen has been removed. Messages that it still handles may find nothing any more."""
    try:
        return not widget.is_attached or widget.screen not in widget.app.screen_stack
    except NoScreen:
        return True


def is_stale(pump: MessagePump, message: Message) -> bool:
    """Whether `message` tells a screen a size that the terminal no longer has.

    In Textual 8.2 each resizing of a screen posts one more: two sizes in its queue would take turns for ever.
    """
    return isinstance(message, events.Resize) and isinstance(pump, Screen) and message.size != pump.app.size


_dispatch_message = MessagePump._dispatch_message


async def _dispatch_or_report(self: MessagePump, message: Message) -> None:
    if is_stale(self, message):
        return
    try:
        await _dispatch_message(self, message)
    except Exception as error:
        app = self.app
        if isinstance(app, ResilientApp) and isinstance(self, Widget) and is_going(self):
            log.debug("an error in a widget that has been removed", exc_info=error)
            return
        if isinstance(message, AT_THE_START) or not isinstance(app, ResilientApp):
            raise
        app.handler_failed(error)


MessagePump._dispatch_message = _dispatch_or_report  # type: ignore[method-assign]


_render_lines = Widget.render_lines


def _render_or_report(self: Widget, crop: Region) -> list[Strip]:
    try:
        return _render_lines(self, crop)
    except Exception as error:
        app = self.app
        if not isinstance(app, ResilientApp):
            raise
        app.drawing_failed(self, error)
        line = Strip([Segment("This could not be drawn; the log says why.")]).adjust_cell_length(crop.width)
        return [line, *[Strip.blank(crop.width)] * (crop.height - 1)]


Widget.render_lines = _render_or_report  # type: ignore[method-assign]
