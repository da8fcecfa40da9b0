"""What quitting and exporting would lose is asked about first."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_session import FakeSession
from textual import events
from waiting import edit, opens, ready, screen_text, settled, shows, wait_for

from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.engine import commands
from circuit_tui.tui.screens.ask_text import AskText
from circuit_tui.tui.screens.confirm_quit import ConfirmQuit
from circuit_tui.tui.screens.confirm_replace import ConfirmReplace

Make = Callable[..., ExplorerApp]
NARROW = (80, 24)
FOREIGN = "my notes\n"


def at_once(app: ExplorerApp, *keys: str) -> None:
    """Send keys in one packet."""
    for key in keys:
        app.post_message(events.Key(key, key if len(key) == 1 else None))


async def test_a_foreign_file_is_replaced_only_if_the_user_says_so(
    explorer: Make, session: FakeSession, tmp_path: Path
) -> None:
    path = tmp_path / "[red]notes.txt"
    path.write_text(FOREIGN)
    app = explorer(out=path)
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await edit(pilot, "space")
        for answer in ("escape", "r"):
            await opens(pilot, AskText, "e")
            await opens(pilot, ConfirmReplace, "enter")
            assert "[red]notes.txt" in screen_text(app).replace("\n", "")
            assert path.read_text() == FOREIGN
            await pilot.press(answer)
            await wait_for(pilot, lambda: app.screen is app.main)
            await settled(pilot)
            assert bool(app.main.unsaved) == (answer == "escape")
    assert path.read_text() == "{}"


@pytest.mark.parametrize("kept", [True, False])
async def test_force_replaces_the_file_that_was_named(explorer: Make, tmp_path: Path, kept: bool) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(FOREIGN)
    app = explorer(out=tmp_path / "other" if kept else path, force=True)
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await edit(pilot, "space")
        await opens(pilot, AskText, "e")
        at_once(app, *str(path), "enter")
        await wait_for(pilot, lambda: isinstance(app.screen, ConfirmReplace) if kept else not app.main.unsaved)
    assert path.read_text() == (FOREIGN if kept else "{}")


async def test_a_file_of_ours_is_replaced_and_the_line_says_so(explorer: Make, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text('{"schema": "circuit-tui/circuit/2"}')
    app = explorer(out=path)
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await opens(pilot, AskText, "e")
        await pilot.press("enter")
        await wait_for(pilot, lambda: any("in place of a circuit file" in n.message for n in app._notifications))
    assert path.read_text() == "{}"


async def test_the_question_lists_circuit_audit_and_snapshots(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await edit(pilot, "i")
        size = len(session.table)
        app.engine.submit(commands.StartAudit())
        await wait_for(pilot, lambda: bool(app.engine.state.audit and not app.engine.state.audit.progress))
        app.engine.submit(commands.SaveSnapshot("[b"))
        app.engine.submit(commands.SaveSnapshot("two"))
        await opens(pilot, ConfirmQuit, "q")
        await shows(pilot, f"a circuit of {size} nodes", "its audit", "2 snapshots: [b, two")


async def test_a_snapshot_alone_is_asked_about(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await opens(pilot, AskText, "w")
        at_once(app, *"mine", "enter", "q")  # the engine has not saved it when q comes
        await wait_for(pilot, lambda: isinstance(app.screen, ConfirmQuit))
        await shows(pilot, "1 snapshot: mine")
        assert "circuit of" not in screen_text(app)


async def test_quitting_waits_for_a_change_that_is_not_made_yet(explorer: Make, session: FakeSession) -> None:
    invert = session.invert

    def slow() -> None:
        time.sleep(0.3)
        invert()

    session.invert = slow  # type: ignore[method-assign]
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        at_once(app, "i", "q")
        await wait_for(pilot, lambda: isinstance(app.screen, ConfirmQuit))
        await shows(pilot, f"a circuit of {len(session.table)} nodes")
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.screen is app.main)


async def test_an_export_that_leaves_something_out_does_not_quit(
    explorer: Make, session: FakeSession, tmp_path: Path
) -> None:
    export = session.export

    def changed_meanwhile(path: Path, *, force: bool = False) -> Path:
        written = export(path, force=force)
        session.invert()
        return written

    session.export = changed_meanwhile  # type: ignore[method-assign]
    app = explorer(out=tmp_path / "c.json")
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await edit(pilot, "space")
        await opens(pilot, ConfirmQuit, "q")
        await opens(pilot, AskText, "e")
        await opens(pilot, ConfirmQuit, "enter")
    assert (tmp_path / "c.json").exists()
