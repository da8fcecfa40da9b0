"""The circuits pane: past searches and files, loading and comparing them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from circuit_example import example
from fake_session import FakeSession
from textual.widgets import Input
from waiting import edit, opens, ready, screen_text, searched, settled, shows, wait_for

from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.screens.export_to import ExportTo
from circuit_tui.tui.screens.open_form import OpenForm
from circuit_tui.tui.widgets.circuits_pane import CircuitFiles

Make = Callable[..., ExplorerApp]
NARROW, WIDE = (80, 24), (160, 50)


def files(app: ExplorerApp) -> CircuitFiles:
    return app.main.query_one(CircuitFiles)


async def listed(pilot: Any, count: int) -> None:
    await wait_for(pilot, lambda: files(pilot.app).scanned and len(files(pilot.app).rows) == count)


async def test_without_any_it_says_how_to_get_one(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("0")
        await listed(pilot, 0)
        await shows(pilot, "No search has ended here yet", "starts a search", "0 Circuits")
        await pilot.press("enter", "m", "c", "y")
        await wait_for(pilot, lambda: any("no circuit to compare" in note.message for note in app._notifications))


async def test_past_searches_can_be_compared_and_taken_again(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        await searched(pilot)
        first = session.kept
        session.weight = session.weight[::-1]
        await searched(pilot)
        second = session.kept
        assert first != second
        await pilot.press("0")
        await listed(pilot, 2)
        assert [row.name for row in files(app).rows] == ["search 2", "search 1"]
        await pilot.press("g", "m", "j", "c")
        both = len(first & second)
        await shows(pilot, f"{both} nodes in both", f"only in search 2  {len(second - first)}")
        await pilot.press("m", "m", "c")
        await shows(pilot, "the current circuit", "search 1")
        await pilot.press("enter")
        await wait_for(pilot, lambda: session.kept == first)
        await listed(pilot, 2)
        await pilot.press("u")
        await wait_for(pilot, lambda: session.kept == second)
        await settled(pilot)


async def test_files_are_loaded_compared_and_proposed(explorer: Make, session: FakeSession, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(example()))
    (tmp_path / "torn.json").write_text(json.dumps(example())[:-9])
    app = explorer()
    async with app.run_test(size=(100, 50)) as pilot:
        await ready(pilot)
        await edit(pilot, "j", "space")
        await pilot.press("0")
        await listed(pilot, 1)
        await wait_for(pilot, lambda: any("torn.json" in note.message for note in app._notifications))
        await pilot.press("c")
        await shows(pilot, "only in the current", "only in mine.json", "not the same")
        (tmp_path / "mine.json").write_text("{}")
        await pilot.press("c")
        await wait_for(pilot, lambda: any("mine.json: " in note.message for note in app._notifications))
        await edit(pilot, "enter")
        assert "open_circuit" in session.calls
        await opens(pilot, ExportTo, "e")
        await pilot.press("tab", "tab", "enter")
        await wait_for(pilot, (tmp_path / "sva-rc.circuits.csv").is_file)
        assert "mine.json" in (tmp_path / "sva-rc.circuits.csv").read_text()


async def test_another_opening_proposes_the_file_under_the_cursor(
    explorer: Make, session: FakeSession, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("circuit_tui.tui.screens.open_form.catalogue", lambda: ())
    (tmp_path / "mine.json").write_text(json.dumps(example()))
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("0")
        await listed(pilot, 1)
        await opens(pilot, OpenForm, "O")
        assert app.screen.query_one("#circuit", Input).value == "mine.json"
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.screen is app.main)
        assert "mine.json" in screen_text(app)
