"""Short names of sites, such as L10mid and L10pre, are shown in full: if they were cut, they would look the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fake_session import FakeSession
from textual.pilot import Pilot
from waiting import edit, opens, ready, wait_for

from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.screens.ask_text import AskText
from circuit_tui.tui.screens.compare import CompareScreen, ComparisonView
from circuit_tui.tui.widgets.prompt_list import PromptList
from circuit_tui.tui.widgets.prompt_nodes import PromptNodes

Make = Callable[..., ExplorerApp]
NAMES = ("L10mid", "L10pre", "L100mid")


def named(session: FakeSession) -> None:
    """Give the sites such names."""
    pairs = zip(session.table.sites, NAMES, strict=True)
    session.table = replace(session.table, sites=tuple(replace(site, short=name) for site, name in pairs))


async def everything_on(pilot: Pilot[None]) -> None:
    await ready(pilot)
    await edit(pilot, "i")


async def test_on_a_prompt(explorer: Make, session: FakeSession) -> None:
    named(session)
    app = explorer()
    async with app.run_test(size=(80, 24)) as pilot:
        await everything_on(pilot)
        await pilot.press("3")
        await wait_for(pilot, lambda: app.main.query_one(PromptList).view is not None)
        await pilot.press("enter")
        nodes = app.main.query_one(PromptNodes)
        await wait_for(pilot, lambda: nodes.view is not None)
        lines = " ".join(nodes.line(index, 80).text for index in range(len(nodes.nodes)))
        assert all(f"  {name} " in lines for name in NAMES)


async def test_in_a_comparison(explorer: Make, session: FakeSession) -> None:
    named(session)
    app = explorer()
    async with app.run_test(size=(120, 50)) as pilot:
        await everything_on(pilot)
        await opens(pilot, AskText, "w")
        await pilot.press("enter")
        await wait_for(pilot, lambda: app.main.shown.circuit.snapshots)  # type: ignore[union-attr]
        await edit(pilot, "i")
        await opens(pilot, CompareScreen, "c")
        view = app.screen.query_one(ComparisonView)
        await wait_for(pilot, lambda: view._comparison is not None)
        assert "L10mid " in " ".join(line.text for line in view.build(110))
