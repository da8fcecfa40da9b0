"""Labels, marks and groups on the screen."""

from __future__ import annotations

from collections.abc import Callable

from fake_session import FakeSession
from waiting import opens, ready, screen_text, searched, settled, shows, wait_for

from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.circuit_rows import LatentRow
from circuit_tui.tui.screens.ask_text import AskText
from circuit_tui.tui.screens.groups import GroupsScreen
from circuit_tui.tui.screens.name_latent import NameLatent
from circuit_tui.tui.widgets.circuit_table import CircuitTable
from circuit_tui.tui.widgets.prompt_nodes import PromptNodes

Make = Callable[..., ExplorerApp]
WIDE = (160, 50)


async def test_a_latent_is_named_and_found_by_its_name(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        row = app.main.query_one(CircuitTable).current
        assert isinstance(row, LatentRow)
        await opens(pilot, NameLatent, "L")
        await pilot.press(*"the mover", "tab", *"see L1", "enter")
        await wait_for(pilot, lambda: session.said.label(row.site, row.latent) == "the mover")
        await shows(pilot, "the mover", "see L1")
        await wait_for(pilot, lambda: screen_text(app).count("the mover") >= 2)  # in the list and above the latent
        await pilot.press("slash", *"mover", "enter")
        table = app.main.query_one(CircuitTable)
        await wait_for(pilot, lambda: table.model is not None and table.model.listed == row.nodes)
        await pilot.press("L", "ctrl+u", "enter")
        await wait_for(pilot, lambda: not session.said.labels and session.said.notes)


async def test_a_name_is_seen_among_the_nodes_of_a_prompt(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        await searched(pilot)
        await pilot.press("3", "enter")
        nodes = app.main.query_one(PromptNodes)
        await wait_for(pilot, lambda: nodes.explanation is not None and nodes.explanation.done)
        await pilot.press("1", "j")
        row = app.main.query_one(CircuitTable).current
        assert isinstance(row, LatentRow)
        await opens(pilot, NameLatent, "L")
        await pilot.press(*"the mover", "enter")
        at = nodes.nodes.index(row.nodes[0])
        await wait_for(pilot, lambda: "the mover" in nodes.line(at, 120).text)


async def test_marked_latents_become_a_group_that_is_switched_as_one(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        await searched(pilot)
        await settled(pilot)
        await pilot.press("1", "j", "m", "j", "m")
        await wait_for(pilot, lambda: len(session.said.marks) > 1)
        await wait_for(pilot, lambda: screen_text(app).count("│*") == 2)
        await opens(pilot, AskText, "M")
        marked = session.said.marks
        await pilot.press(*"ab", "enter")
        await wait_for(pilot, lambda: session.said.groups != ())
        (group,) = session.said.groups
        assert (group.name, frozenset(group.nodes), session.said.marks) == ("ab", marked, frozenset())
        await wait_for(pilot, lambda: "■" in screen_text(app) and "│*" not in screen_text(app))
        await settled(pilot)
        await opens(pilot, GroupsScreen, "M")
        on = len(marked & session.kept)
        await shows(pilot, f"{on} of {len(marked)} nodes on", f"{session.faithfulness(marked & session.kept):+.3f}")
        await pilot.press("space")
        await wait_for(pilot, lambda: not marked & session.kept)
        await shows(pilot, f"0 of {len(marked)} nodes on")
        await pilot.press("d")
        await wait_for(pilot, lambda: session.said.groups == ())
        await shows(pilot, "There is no group.")
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.screen is app.main)


async def test_on_a_heading_nothing_is_marked(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        await pilot.press("g", "m", "L")
        await wait_for(pilot, lambda: any("Put the cursor on a latent" in note.message for note in app._notifications))
        assert app.screen is app.main
        assert not session.said.marks
