"""Ways to wait for the explorer, and to read its screen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from circuit_tui.tui.app import ExplorerApp


async def wait_for(pilot: Any, condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Let the app run until `condition` holds. The limit is for machines so slow that it is never met elsewhere."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"what was waited for did not happen; on the screen is\n{screen_text(pilot.app)}")
        await pilot.pause(0.02)
    await pilot.pause()


async def loaded(pilot: Any) -> None:
    """Wait until the explorer's screen has taken the place of the first frame."""
    await wait_for(pilot, lambda: pilot.app.loaded)


async def ready(pilot: Any) -> None:
    """Wait until the session is open and shown."""
    await loaded(pilot)
    await wait_for(pilot, lambda: pilot.app.engine.state.phase == "ready" and pilot.app._main._shown.phase == "ready")


def screen_text(app: ExplorerApp) -> str:
    """What the screen shows, as text."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())
