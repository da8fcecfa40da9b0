"""Ways to wait for the explorer, and to read its screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from circuit_tui.tui.app import ExplorerApp


async def wait_for(pilot: Any, condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Let the app run until `condition` holds."""
    for _ in range(int(seconds / 0.02)):
        if condition():
            await pilot.pause()
            return
        await pilot.pause(0.02)
    raise AssertionError("what was waited for did not happen")


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
