"""When an app has nothing left to do.

Textual's own pilot takes a process that has used little of the CPU for 20 ms for one that is done. On a busy machine
such a process may just not have been running.
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
    """Whether a message waits in `app` or on its screen, or something is to be painted."""
    screen = app.screen
    if any(pump.message_queue_size or pump._next_callbacks for pump in (app, *screen.walk_children(with_self=True))):
        return True
    painting = (screen._dirty_widgets, screen._callbacks, screen._layout_required, screen._repaint_required)
    return any(painting) or screen._scroll_required or screen._recompose_required


async def quiet(app: App[Any], end: float) -> bool:
    """Turn the event loop a few times; whether `app` was not `busy` on any of them."""
    for _ in range(HOPS):
        await asyncio.sleep(0)
        if not app._running or not app._screen_stack:
            return True
        if busy(app):
            await asyncio.sleep(0.001)
            return time.monotonic() > end
    return True


async def served(min_sleep: float = 0.0, max_sleep: float = 1.0) -> None:
    """In the place of Textual's `wait_for_idle`: waits until nothing is `busy` nor under way.

    At most `max_sleep` seconds, because an app may be busy for ever: one whose search runs, say.
    """
    app = active_app.get()
    end = time.monotonic() + max_sleep
    while True:
        while not await quiet(app, end):
            pass
        if not app._running:
            return
        # A widget that is in the middle of something answers after it; what that has led to shows on the next turns.
        await Pilot(app)._wait_for_screen()
        if await quiet(app, end):
            return
