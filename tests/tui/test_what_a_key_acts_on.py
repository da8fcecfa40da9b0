"""A key acts on what the user sees, in the order of the keys; what quitting would lose is listed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_session import FakeSession, opener
from textual import events
from textual.widgets import Select
from waiting import edit, opens, ready, screen_text, settled, shown_size, shows, wait_for

from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.circuit_rows import SiteRow
from circuit_tui.tui.picker import PickerApp
from circuit_tui.tui.screens.ask_text import AskText
from circuit_tui.tui.screens.confirm_quit import ConfirmQuit
from circuit_tui.tui.screens.explorer import ExplorerScreen
from circuit_tui.tui.widgets.circuit_pane import FilterInput
from circuit_tui.tui.widgets.circuit_table import CircuitTable
from circuit_tui.tui.widgets.line_input import LONGEST, LineInput
from circuit_tui.tui.widgets.prompt_list import PromptList

Make = Callable[..., ExplorerApp]
NARROW, WIDE = (80, 24), (160, 50)


def table_of(app: ExplorerApp) -> CircuitTable:
    return app.main.query_one(CircuitTable)


async def test_the_question_lists_what_would_be_lost(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await opens(pilot, AskText, "w")
        await pilot.press(*"[b", "enter")
        await wait_for(pilot, lambda: bool(app.main.shown.circuit and app.main.shown.circuit.snapshots))
        await opens(pilot, ConfirmQuit, "q")
        await shows(pilot, "1 snapshot: [b")
        await pilot.press("q")
    assert app.return_code == 0


async def test_a_proposed_name_is_selected(explorer: Make, tmp_path: Path) -> None:
    app = explorer(out=tmp_path / "c.json")
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        for key in ("w", "e"):
            await opens(pilot, AskText, key)
            field = app.screen.query_one(LineInput)
            await wait_for(pilot, lambda field=field: field.selected_text == field.value != "")
            await pilot.press("escape")
            await wait_for(pilot, lambda: app.screen is app.main)


async def test_a_click_on_the_triangle_of_a_site_folds_it(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        model = table_of(app).model
        assert model is not None
        for folded in (True, False):
            await pilot.click(CircuitTable, offset=(1, 0))
            assert (0 in model.folded) == folded
        assert shown_size(app) == 0
        await pilot.click(CircuitTable, offset=(1, 0), times=2)
        assert 0 not in model.folded


@pytest.mark.parametrize("empty", [True, False])
async def test_switching_a_site_twice_is_the_identity(explorer: Make, session: FakeSession, empty: bool) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        if not empty:
            await edit(pilot, "space")
        before = session.kept
        for key in ("x", "x"):
            await edit(pilot, key)
        assert session.kept == before


@pytest.mark.parametrize("pane", "3456")
@pytest.mark.parametrize("key", ["space", "x", "o"])
async def test_what_is_not_seen_is_not_switched(explorer: Make, session: FakeSession, pane: str, key: str) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await edit(pilot, "space")
        kept = session.kept
        await pilot.press(pane, key)
        await wait_for(pilot, lambda: any("circuit pane (1)" in note.message for note in app._notifications))
        await settled(pilot)
        assert session.kept == kept


async def test_the_latent_on_the_screen_is_switched(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("2")
        await edit(pilot, "space")
        await pilot.press("1", "g")
        assert isinstance(table_of(app).current, SiteRow)
        kept = session.kept
        await pilot.press("2", "space")
        await wait_for(pilot, lambda: any("circuit pane (1)" in note.message for note in app._notifications))
        assert session.kept == kept, "the pane shows no site"


async def test_enter_in_the_packet_of_a_cursor_key_opens_the_row_that_the_cursor_is_on(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("3")
        await settled(pilot)
        prompts = app.main.query_one(PromptList)
        assert prompts.view is not None
        for key in ("down", "down", "enter"):
            app.post_message(events.Key(key, None))
        await wait_for(pilot, lambda: app.main.presenter.prompt is not None)
        assert app.main.presenter.prompt == prompts.view.rows[2].index


async def test_escape_closes_a_list_of_the_form_and_not_the_form() -> None:
    app = PickerApp(OpenRequest(), read=lambda: ())
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.pause()
        select = app.query_one("#model", Select)
        select.focus()
        await pilot.press("enter")
        await wait_for(pilot, lambda: select.expanded)
        await pilot.press("escape")
        await wait_for(pilot, lambda: not select.expanded)
        assert app.is_running
        assert "model" in screen_text(app)  # type: ignore[arg-type]
        await pilot.press("escape")
        await wait_for(pilot, lambda: not app.is_running or app._exit)


@pytest.mark.parametrize(
    "keys", [["w", *"mine", "enter"], ["slash", *"animals", "enter"], ["3", "down", "enter", "1", "space"]]
)
async def test_keys_of_one_packet_act_one_after_the_other(explorer: Make, keys: list[str]) -> None:
    ends = []
    for together in (True, False):
        app = explorer(opener=opener(FakeSession()))
        async with app.run_test(size=NARROW) as pilot:
            await ready(pilot)
            for key in keys:
                if together:
                    app.post_message(events.Key(key, key if len(key) == 1 else None))
                else:
                    await pilot.press(key)
            await wait_for(pilot, lambda app=app: not app._order._waiting)
            await settled(pilot)
            circuit = app.main.shown.circuit
            assert circuit is not None
            ends.append((circuit.kept, circuit.snapshots, app.main.panes.current, app.main.presenter.prompt))
            ends[-1] += (table_of(app).model.filter if table_of(app).model else None,)
    assert ends[0] == ends[1]


async def test_what_a_terminal_pastes_as_keys_comes_into_the_field_at_once(
    explorer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = explorer()
    changes = []
    monkeypatch.setattr(
        ExplorerScreen, "on_input_changed", lambda self, event: changes.append(event.value), raising=False
    )
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        for key in ("slash", *("y" * 10_000), "enter"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        field = app.main.query_one(FilterInput)
        await wait_for(pilot, lambda: not app._order._waiting and len(field.value) == LONGEST)
        assert len(changes) < 100
