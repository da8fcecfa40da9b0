"""Delivers keys, pastes and clicks in order: each when all that the one before it asked for has been done.

Over a slow line several keys arrive in one packet. Textual gives each of them at once to the widget that has the focus
by then, so that ``/`` and a word would be eight commands, and ``3``, ``down``, ``enter`` would go to the pane before.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from textual import events
from textual.app import App
from textual.widgets import Input

LOOK_EVERY = 0.001  # seconds between two looks whether the app has done what it was asked for
LONGEST_WAIT = 1.0  # seconds; what takes longer is no answer to a key
MOUNT_TIME = 2.0  # seconds for a screen that has been put on top, which takes milliseconds


class InputOrder:
    """The input that `app` has not been given yet. `deliver` gives it one event."""

    def __init__(self, app: App[Any], deliver: Callable[[events.Event], Awaitable[None]]) -> None:
        self._app, self._deliver = app, deliver
        self._waiting: deque[events.Event] = deque()
        self._first_since = 0.0
        self._typing_in: Input | None = None

    async def take(self, event: events.Event) -> None:
        """Deliver `event` now if the app has nothing left to do, otherwise as soon as that is so."""
        if not self._waiting:
            self._first_since = time.monotonic()
        self._waiting.append(event)
        if len(self._waiting) == 1:
            await self._release()

    async def _release(self) -> None:
        while self._waiting and self._may_go(self._waiting[0]):
            event = self._waiting.popleft()
            self._first_since = time.monotonic()
            self._typing_in = self._field_for(event)
            await self._deliver(event)
        if self._waiting:
            loop = asyncio.get_running_loop()
            loop.call_later(LOOK_EVERY, self._look_again)

    def _look_again(self) -> None:
        with suppress(RuntimeError):  # the app has ended
            self._app.call_later(self._release)

    def _may_go(self, event: events.Event) -> bool:
        waited, screens = time.monotonic() - self._first_since, self._app.screen_stack
        if screens and not screens[-1].is_mounted:
            return waited > MOUNT_TIME
        typed_on = self._typing_in is not None and self._field_for(event) is self._typing_in
        return typed_on or waited > LONGEST_WAIT or not is_busy(self._app)

    def _field_for(self, event: events.Event) -> Input | None:
        """The field that takes a letter; None for other events. One letter after the other changes nothing else."""
        focused = self._app.focused
        letter = isinstance(event, events.Key) and event.is_printable
        return focused if letter and isinstance(focused, Input) else None


def is_busy(app: App[Any]) -> bool:
    """Whether a message is waiting in `app` or on its screen, or the screen has something to do once it is laid out."""
    if not app.screen_stack:
        return False
    screen = app.screen
    if screen._callbacks or screen._layout_required:
        return True
    pumps = (app, *screen.walk_children(with_self=True))
    return any(pump.message_queue_size or pump._next_callbacks for pump in pumps)
