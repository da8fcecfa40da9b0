"""Figures and rows that are taken out of the explorer."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fake_session import FakeSession
from waiting import opens, ready, searched, settled, shows, wait_for

from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.circuit_rows import LatentRow
from circuit_tui.tui.screens.confirm_replace import ConfirmReplace
from circuit_tui.tui.screens.export_to import ExportTo
from circuit_tui.tui.widgets.circuit_table import CircuitTable
from circuit_tui.tui.widgets.frontier_pane import FrontierPane

Make = Callable[..., ExplorerApp]
NARROW, WIDE = (80, 24), (160, 50)


async def says(pilot: Any, text: str) -> None:
    await wait_for(pilot, lambda: any(text in note.message for note in pilot.app._notifications))


async def test_tab_goes_through_the_forms_and_the_ending_decides(
    explorer: Make, session: FakeSession, tmp_path: Path
) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await searched(pilot)
        await settled(pilot)
        await pilot.press("1", "slash", *"pos=verb", "enter")
        await opens(pilot, ExportTo, "e")
        await shows(pilot, "sva-rc.circuit.json", "the circuit, with all")
        await pilot.press("tab")
        await shows(pilot, "sva-rc.masks.json", "the nodes alone")
        await pilot.press("tab")
        await shows(pilot, "sva-rc.latents.csv", "the kept latents that match “pos=verb”, as CSV")
        await pilot.press("shift+tab", "tab", "enter")
        path = tmp_path / "sva-rc.latents.csv"
        await wait_for(pilot, path.is_file)
        with path.open() as stream:
            rows = list(csv.DictReader(stream))
        table = session.table
        verbs = {(table.site[i], table.latent[i]) for i in session.kept if table.position[i] == 3}
        assert {(int(row["site"][1:]), int(row["latent"])) for row in rows} == verbs
        await opens(pilot, ExportTo, "e")
        await pilot.press("ctrl+u", *"notes.md")
        await shows(pilot, "as Markdown")
        path.with_name("notes.md").write_text("mine")
        await pilot.press("enter")
        await wait_for(pilot, lambda: isinstance(app.screen, ConfirmReplace))
        assert path.with_name("notes.md").read_text() == "mine"
        await pilot.press("r")
        await wait_for(pilot, lambda: "circuit-tui: latents" in path.with_name("notes.md").read_text())


async def test_each_pane_exports_what_it_shows(explorer: Make, session: FakeSession, tmp_path: Path) -> None:
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        await searched(pilot)
        row = app.main.query_one(CircuitTable).current
        await pilot.press("j", "2")
        row = app.main.query_one(CircuitTable).current
        assert isinstance(row, LatentRow)
        name = f"sva-rc.{session.table.sites[row.site].short}-{row.latent}.csv"
        await opens(pilot, ExportTo, "e")
        await pilot.press("tab", "tab")
        await shows(pilot, name)
        await pilot.press("enter")
        await wait_for(pilot, (tmp_path / name).is_file)
        await opens(pilot, ExportTo, "5", "e")
        await pilot.press("tab", "tab", "enter")
        await wait_for(pilot, (tmp_path / "sva-rc.frontier.csv").is_file)


async def test_intervals_of_the_frontier_are_computed_where_asked(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("I")
        await says(pilot, "intervals are computed when the search has ended")
        await searched(pilot)
        await settled(pilot)
        await pilot.press("5")
        pane = app.main.query_one(FrontierPane)
        await shows(pilot, "enter loads it")
        await pilot.press("I")
        point = pane.point
        assert point is not None
        assert point.test is not None
        await shows(pilot, f"95% CI {point.test - 0.04:.3f}–{point.test + 0.03:.3f}", "its 95% CI")
        await settled(pilot)
        assert len(session.searches.known) == len(session.searches.frontier())


async def test_a_row_is_copied_to_terminal_and_file(explorer: Make, session: FakeSession, tmp_path: Path) -> None:
    app = explorer()
    app.state_folder = tmp_path
    copied = tmp_path / "copied.txt"
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("y")
        row = app.main.query_one(CircuitTable).current
        assert isinstance(row, LatentRow)
        await wait_for(pilot, copied.is_file)
        address = f"{session.table.sites[row.site].short}/{row.latent}"
        assert copied.read_text().startswith(f"{address}\t")
        assert app.clipboard == copied.read_text().rstrip("\n")
        await pilot.press("3", "y")
        await wait_for(pilot, lambda: "the boy" in copied.read_text())
        await pilot.press("5", "y")
        await says(pilot, "no row to copy")
        await searched(pilot)
        await pilot.press("5", "y")
        point = app.main.query_one(FrontierPane).point
        await wait_for(pilot, lambda: point is not None and copied.read_text().startswith(f"{point.size}\t"))
        copied.unlink()
        app.state_folder = tmp_path / "missing"
        await pilot.press("y")
        await says(pilot, "kept in no file")
