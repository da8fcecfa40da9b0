"""Ways to wait for the explorer, and to read its screen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from textual.screen import Screen

from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.circuit_rows import LatentRow, NodeRow
from circuit_tui.tui.widgets.circuit_table import CircuitTable


async def wait_for(pilot: Any, condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Let the app run until `condition` holds. The limit is so long that only a failure meets it."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"what was waited for did not happen; on the screen is\n{screen_text(pilot.app)}")
        await pilot.pause(0.02)
    await pilot.pause()


async def shows(pilot: Any, *texts: str) -> None:
    """Wait until all of `texts` are on the screen."""
    await wait_for(pilot, lambda: all(text in screen_text(pilot.app) for text in texts))


async def opens(pilot: Any, kind: type[Screen[Any]], *keys: str) -> None:
    """Press keys, and wait until a screen of that kind is on top."""
    await pilot.press(*keys)
    await wait_for(pilot, lambda: isinstance(pilot.app.screen, kind))


async def loaded(pilot: Any) -> None:
    """Wait until the explorer's screen has taken the place of the first frame."""
    await wait_for(pilot, lambda: pilot.app.loaded)


async def ready(pilot: Any) -> None:
    """Wait until the session is open and shown."""
    await loaded(pilot)
    await wait_for(pilot, lambda: pilot.app.engine.state.phase == "ready" and pilot.app.main.shown.phase == "ready")


def shown_size(app: ExplorerApp) -> int:
    """The number of nodes of the circuit on the screen; -1 before there is one."""
    circuit = app.main.shown.circuit
    return -1 if circuit is None else circuit.size


async def searched(pilot: Any) -> None:
    """Start a search, and wait until its result is on the screen."""
    main = pilot.app.main
    before = main.shown.search.result
    await pilot.press("s")
    await wait_for(pilot, lambda: main.shown.search.result is not None and main.shown.search.result is not before)


async def edit(pilot: Any, *keys: str) -> None:
    """Press keys, the last of which changes the circuit, and wait until the new circuit is on the screen."""
    before = pilot.app.main.shown.circuit.version
    await pilot.press(*keys)
    await wait_for(pilot, lambda: pilot.app.main.shown.circuit.version > before)


async def settled(pilot: Any) -> None:
    """Wait until everything that the visible panes show has been computed and is on the screen."""
    app = pilot.app

    def complete() -> bool:
        state, main = app.engine.state, app.main
        shown, row = main.shown, main.query_one(CircuitTable).current
        if not app.engine._queue.empty() or app.engine._work_left or state is not shown or shown.circuit is None:
            return False
        latent = isinstance(row, LatentRow | NodeRow) and main.panes.visible_pane("latent")
        if latent and (shown.latent is None or (shown.latent.site, shown.latent.latent) != (row.site, row.latent)):
            return False
        if not main.panes.visible_pane("prompts"):
            return True
        version = shown.circuit.version
        chosen = main.presenter.prompt is None or (
            shown.prompt is not None and shown.prompt.row.index == main.presenter.prompt
        )
        of_prompt = main.presenter.prompt is None or shown.prompt_version == version
        return shown.prompts is not None and shown.prompts.version == version and chosen and of_prompt

    await wait_for(pilot, complete)


def screen_text(app: ExplorerApp) -> str:
    """The text on the screen."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())
