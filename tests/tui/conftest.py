"""An explorer on a fake session, and ways to wait for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_session import FakeSession, opener

from circuit_tui.core.request import OpenRequest
from circuit_tui.tui.app import ExplorerApp


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
def explorer(session: FakeSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., ExplorerApp]:
    """Makes the app. The session is that of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)

    def make(**options: Any) -> ExplorerApp:
        options.setdefault("opener", opener(session))
        return ExplorerApp(OpenRequest(), **options)

    return make


async def wait_for(pilot: Any, condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Let the app run until `condition` holds."""
    for _ in range(int(seconds / 0.02)):
        if condition():
            await pilot.pause()
            return
        await pilot.pause(0.02)
    raise AssertionError("what was waited for did not happen")


async def ready(pilot: Any) -> None:
    """Wait until the session is open and shown."""
    await wait_for(pilot, lambda: pilot.app.engine.state.phase == "ready" and pilot.app._main._shown.phase == "ready")


def screen_text(app: ExplorerApp) -> str:
    """What the screen shows, as text."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())
