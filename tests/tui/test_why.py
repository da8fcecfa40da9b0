"""Why a prompt is answered as it is, and on which prompts a latent matters, on the screen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fake_session import FakeSession
from waiting import edit, ready, screen_text, searched, shows, wait_for

from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.circuit_rows import LatentRow
from circuit_tui.tui.widgets.circuit_table import CircuitTable
from circuit_tui.tui.widgets.prompt_list import PromptList
from circuit_tui.tui.widgets.prompt_nodes import PromptNodes

Make = Callable[..., ExplorerApp]
NARROW = (80, 24)


async def test_contributions_fill_in_and_sort_the_nodes(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await searched(pilot)
        await pilot.press("3")
        prompts, nodes = app.main.query_one(PromptList), app.main.query_one(PromptNodes)
        await wait_for(pilot, lambda: prompts.view is not None)
        await pilot.press("j", "enter")
        await wait_for(pilot, lambda: nodes.explanation is not None and nodes.explanation.done)
        index = prompts.view.rows[1].index  # type: ignore[union-attr]
        clean = nodes.explanation.clean  # type: ignore[union-attr]
        assert nodes.explanation.prompt == index  # type: ignore[union-attr]
        values = dict(zip(clean.nodes, clean.values, strict=True))
        assert nodes.nodes == sorted(clean.nodes, key=lambda node: -abs(values[node] or 0.0))
        first = nodes.line(0, 80).text
        assert f"{values[nodes.nodes[0]]:+.2f}" in first
        await shows(pilot, " clean  ", " corrupt", "fires at")
        version = session.version
        await edit(pilot, "1", "j", "space")
        await pilot.press("3")
        await wait_for(pilot, lambda: session.explained_version > version and app.main.shown.explanation is not None)
        assert session.calls.count(f"explain {index}") == 2, "asked again for the circuit after the edit"


async def test_the_prompts_on_which_a_latent_matters(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await searched(pilot)
        await pilot.press("1", "j")
        row = app.main.query_one(CircuitTable).current
        assert isinstance(row, LatentRow)
        await shows(pilot, "W  shows the prompts")
        await pilot.press("W")
        await shows(pilot, "matters most on  what the circuit loses")
        own = [
            i for i in range(len(session.table)) if (session.table.site[i], session.table.latent[i]) == (0, row.latent)
        ]
        assert f"latent_prompts {own}" in session.calls
        best = session.latent_prompts(own).prompts[0]
        assert f"{best.effect:+.2f}  {best.text}"[:15] in screen_text(app)
        await edit(pilot, "1", "space")
        await wait_for(pilot, lambda: app.main.shown.latent_prompts is None)


@pytest.mark.parametrize("size", [NARROW, (160, 50)])
async def test_attention_sinks_are_marked_where_tokens_are_shaded(
    explorer: Make, session: FakeSession, size: tuple[int, int]
) -> None:
    app = explorer()
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        await searched(pilot)
        await pilot.press("3", "enter")
        await shows(pilot, " farmers that the boy sees")
        assert "◦" not in screen_text(app)
        session.sinks = {1: ("L1",), 4: ("L0", "L1")}
        await pilot.press("j", "enter")
        legend = "◦ attention sink at L1, L0" if size == NARROW else "◦ sink: L1, L0"
        await shows(pilot, f" the◦ farmers that the◦ boy sees   {legend}")
        await pilot.press("1", "j", "2")
        below = () if size == NARROW else ("the◦ farmers",)
        await shows(pilot, "fires most on  shaded by activation; ◦ attention sink", *below)
