"""Where a latent fires: over its range of activation, and in a text of the user's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fake_session import FakeSession
from waiting import opens, ready, searched, settled, shows, wait_for

from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.circuit_rows import LatentRow
from circuit_tui.tui.screens.ask_text import AskText
from circuit_tui.tui.widgets.circuit_table import CircuitTable

Make = Callable[..., ExplorerApp]


async def test_a_text_is_looked_through_for_the_latent(explorer: Make, session: FakeSession, tmp_path: Path) -> None:
    (tmp_path / "birds.txt").write_text("birds fly")
    app = explorer()
    async with app.run_test(size=(100, 60)) as pilot:
        await ready(pilot)
        await searched(pilot)
        await settled(pilot)
        await pilot.press("1", "j", "2")
        await shows(pilot, "fires most on", "✗", "3 texts", "X  shows where it fires")
        row = app.main.query_one(CircuitTable).current
        assert isinstance(row, LatentRow)
        await opens(pilot, AskText, "X")
        await pilot.press(*"birds.txt", "enter")
        await shows(pilot, "in birds.txt", "on 1 of 90 tokens")
        assert f"text_examples {row.site} {row.latent} birds.txt" in session.calls
        await pilot.press("1", "j", "2")
        await shows(pilot, "X  shows where it fires")
        await opens(pilot, AskText, "X")
        await pilot.press("ctrl+u", *"no.txt", "enter")
        await wait_for(pilot, lambda: any("no.txt: no such file" in note.message for note in app._notifications))
