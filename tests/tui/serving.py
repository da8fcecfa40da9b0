"""Tells when an app has nothing left to do.

Textual's own pilot takes a process that has used little CPU time for 20 ms to be done. On a busy machine, such a
process may just not have been running.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from textual._context import active_app
from textual.app import App
from textual.pilot import Pilot

HOPS = 5  # turns of the event loop; a key takes three from the driver to the app, a message one from widget to widget


def busy(app: App[Any]) -> bool:
    """Whether a message is waiting in `app` or on its screen, or something must still be painted."""
    screen = app.screen
    if any(pump.message_queue_size or pump._next_callbacks for pump in (app, *screen.walk_children(with_self=True))):
        return True
    painting = (screen._dirty_widgets, screen._callbacks, screen._layout_required, screen._repaint_required)
    return any(painting) or screen._scroll_required or screen._recompose_required


async def quiet(app: App[Any], end: float) -> bool:
    """Turn the event loop a few times; returns whether `app` was never `busy`."""
    for _ in range(HOPS):
        await asyncio.sleep(0)
        if not app._running or not app._screen_stack:
            return True
        if busy(app):
            await asyncio.sleep(0.001)
            return time.monotonic() > end
    return True


async def served(min_sleep: float = 0.0, max_sleep: float = 1.0) -> None:
    """A replacement for Textual's `wait_for_idle` that waits until nothing is busy or in progress.

    It waits at most `max_sleep` seconds, because an app may be busy for ever, for instance while a search runs.
    """
    app = active_app.get()
    end = time.monotonic() + max_sleep
    while True:
        while not await quiet(app, end):
            pass
        if not app._running:
            return
        # A widget that is in the middle of something answers afterwards; its effects show on the next turns.
        await Pilot(app)._wait_for_screen()
        if await quiet(app, end):
            return
