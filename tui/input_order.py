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
from itertools import takewhile
from typing import Any

from textual import events
from textual.app import App
from textual.widgets import Input

LOOK_EVERY = 0.001  # seconds between two looks whether the app has done what it was asked for
LONGEST_WAIT = 2.0  # seconds from its arrival: then an event is delivered however busy the app is


class InputOrder:
    """The input that `app` has not been given yet. `deliver` gives it one event, `is_busy` says whether to wait."""

    def __init__(
        self, app: App[Any], deliver: Callable[[events.Event], Awaitable[None]], is_busy: Callable[[], bool]
    ) -> None:
        self._app, self._deliver, self._is_busy = app, deliver, is_busy
        self._waiting: deque[tuple[float, events.Event]] = deque()

    async def take(self, event: events.Event) -> None:
        """Deliver `event` now if the app has nothing left to do, otherwise as soon as that is so."""
        self._waiting.append((time.monotonic(), event))
        if len(self._waiting) == 1:
            await self._release()

    async def _release(self) -> None:
        try:
            while self._waiting and self._may_go(self._waiting[0][0]):
                letters = self._letters()
                try:
                    await self._deliver(events.Paste(letters) if len(letters) > 1 else self._waiting[0][1])
                finally:
                    for _ in range(max(1, len(letters))):
                        self._waiting.popleft()
        finally:
            if self._waiting:
                asyncio.get_running_loop().call_later(LOOK_EVERY, self._look_again)

    def _look_again(self) -> None:
        with suppress(RuntimeError):  # the app has ended
            self._app.call_later(self._release)

    def _may_go(self, arrived: float) -> bool:
        screens = self._app.screen_stack
        if not (screens and screens[-1].is_mounted):
            return False  # nothing is there that could take it
        return time.monotonic() - arrived > LONGEST_WAIT or not self._is_busy()

    def _letters(self) -> str:
        """The letters that wait for a field, which takes them together: a terminal may send what is pasted as keys."""
        if not isinstance(self._app.focused, Input):
            return ""
        return "".join(takewhile(bool, (letter_of(event) for _, event in self._waiting)))


def letter_of(event: events.Event) -> str:
    """The character that `event` types; empty if it is no key or a key that types none."""
    return event.character or "" if isinstance(event, events.Key) and event.is_printable else ""


def is_busy(app: App[Any]) -> bool:
    """Whether a message or a callback is waiting in `app` or on the screen on top."""
    pumps = (app, *app.screen.walk_children(with_self=True))
    return bool(app.screen._callbacks) or any(pump.message_queue_size or pump._next_callbacks for pump in pumps)
