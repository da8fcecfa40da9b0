"""What the keys do, in the app on a fake session."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_session import FakeSession, gated_opener
from textual import events
from textual.widgets import Input, Select
from waiting import edit, opens, ready, screen_text, searched, settled, shown_size, shows, wait_for

from circuit_tui.core.errors import UserError
from circuit_tui.core.search.asked import ROBUST_ABLATIONS, asked_spec
from circuit_tui.core.search.objectives import Objective
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import HeldValue, MemoryUse, PromptsView
from circuit_tui.tui.actions import PANES
from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.circuit_rows import LatentRow, NodeRow, SiteRow
from circuit_tui.tui.screens.ask_text import AskText
from circuit_tui.tui.screens.compare import CompareScreen, ComparisonView
from circuit_tui.tui.screens.confirm_quit import ConfirmQuit
from circuit_tui.tui.screens.explorer import CURSOR_REST
from circuit_tui.tui.screens.help import HelpScreen
from circuit_tui.tui.widgets.circuit_pane import FilterInput
from circuit_tui.tui.widgets.circuit_table import CircuitTable
from circuit_tui.tui.widgets.latent_pane import LatentPane
from circuit_tui.tui.widgets.prompt_list import PromptList
from circuit_tui.tui.widgets.prompt_nodes import PromptNodes
from circuit_tui.tui.widgets.search_form import SearchForm
from circuit_tui.tui.widgets.search_report import SearchReport

Make = Callable[..., ExplorerApp]
NARROW, WIDE = (80, 24), (160, 50)


def table_of(app: ExplorerApp) -> CircuitTable:
    return app.main.query_one(CircuitTable)


async def test_before_any_search_all_candidates_are_listed(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        text = screen_text(app)
        assert "demo" in text
        assert "sva-rc" in text
        assert text.splitlines()[3].rstrip().endswith(" all")
        assert isinstance(table_of(app).current, LatentRow)


async def test_a_gpu_is_shown_with_its_memory(explorer: Make, session: FakeSession) -> None:
    session.info = replace(session.info, device="NVIDIA H100", dtype="bfloat16")
    session.memory = MemoryUse(int(31.24 * 2**30), 80 * 2**30)
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        await wait_for(pilot, lambda: "NVIDIA H100 31.2/80 GiB bfloat16" in screen_text(app).splitlines()[0])


async def test_space_switches_a_latent_at_all_its_positions_and_u_takes_it_back(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        row = table_of(app).current
        assert isinstance(row, LatentRow)
        await pilot.press("space")
        await wait_for(pilot, lambda: shown_size(app) == len(row.nodes))
        text = screen_text(app)
        assert "L0 7 on" in text
        assert "●" in text
        assert "▲ +" in text
        await pilot.press("u")
        await wait_for(pilot, lambda: shown_size(app) == 0)
        await pilot.press("U")
        await wait_for(pilot, lambda: shown_size(app) == len(row.nodes))
        await pilot.press("u")
        await wait_for(pilot, lambda: shown_size(app) == 0)
        await pilot.press("ctrl+r")
        await wait_for(pilot, lambda: shown_size(app) == len(row.nodes))


async def test_enter_opens_a_latent_and_space_then_switches_one_position(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("l", "j")
        row = table_of(app).current
        assert isinstance(row, NodeRow)
        await pilot.press("space")
        await wait_for(pilot, lambda: shown_size(app) == 1)
        assert app.engine.state.circuit.kept[row.node] == 1  # type: ignore[union-attr]
        assert "◐" in screen_text(app)
        await pilot.press("h")
        assert isinstance(table_of(app).current, LatentRow)
        await pilot.press("left")
        assert table_of(app).model.expanded == set()  # type: ignore[union-attr]
        await pilot.press("left")
        assert isinstance(table_of(app).current, SiteRow)


async def test_moving_by_letters_arrows_and_pages(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        table = table_of(app)
        start = table.cursor
        await pilot.press("j", "down", "k", "pagedown")
        assert table.cursor == start + 1 + table.scrollable_content_region.height - 1
        await pilot.press("G")
        assert table.cursor == len(table.model.rows) - 1  # type: ignore[union-attr]
        assert table.scroll_offset.y > 0
        await pilot.press("g")
        assert (table.cursor, table.scroll_offset.y) == (0, 0)


async def test_x_i_and_o_edit_many_nodes(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    n = len(session.table)
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("x")
        await wait_for(pilot, lambda: shown_size(app) == session.table.site.count(0))
        await pilot.press("i")
        await wait_for(pilot, lambda: shown_size(app) == n - session.table.site.count(0))
        await pilot.press("slash", *"verb", "enter", "o")
        await wait_for(pilot, lambda: shown_size(app) == len(table_of(app).model.listed))  # type: ignore[union-attr]
        kept = app.engine.state.circuit.kept  # type: ignore[union-attr]
        for node in range(n):
            name = f"{session.table.label[node]} {session.table.positions[session.table.position[node]]}"
            assert kept[node] == ("verb" in name)


async def test_typing_filters_and_escape_clears(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("slash", *"animals q")
        assert "Nothing matches" in screen_text(app)
        await pilot.press("backspace", "backspace")
        model = table_of(app).model
        assert model is not None
        assert model.listed
        assert {session.table.label[i] for i in model.listed} == {"animals"}
        await pilot.press("enter")
        assert app.focused is table_of(app)
        assert "animals" in app.main.query_one(FilterInput).value
        await pilot.press("escape")
        assert len(model.listed) == len(session.table)


def type_at_once(app: ExplorerApp, keys: str) -> None:
    """Send `keys` in one packet: none is handled before the last has arrived."""
    for character in keys:
        app.post_message(events.Key({"/": "slash", "\r": "enter"}.get(character, character), character))


@pytest.mark.parametrize("pane", ["1", "3", "4"])
async def test_a_filter_typed_at_once_is_typed_into_the_filter(explorer: Make, session: FakeSession, pane: str) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press(pane)
        type_at_once(app, "/animals")
        await wait_for(pilot, lambda: app.main.query_one(FilterInput).value == "animals")
        model = table_of(app).model
        assert model is not None
        await wait_for(pilot, lambda: {session.table.label[i] for i in model.listed} == {"animals"})
        assert app.screen is app.main
        type_at_once(app, "\r/x")
        await wait_for(pilot, lambda: app.main.query_one(FilterInput).value in ("x", "animalsx", "animals/x"))
        assert shown_size(app) == 0, "no letter was a command"


@pytest.mark.parametrize("keys", ["wiuxoe", "eionx"])
async def test_letters_after_a_key_that_opens_a_question_are_no_commands(explorer: Make, keys: str) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        type_at_once(app, keys)
        await wait_for(pilot, lambda: isinstance(app.screen, AskText))
        await pilot.pause()
        assert len(app.screen_stack) == 3, "one question, over the explorer and the first frame"
        assert shown_size(app) == 0


async def test_sorting_keeps_the_cursor_on_its_latent(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("j", "j")
        row = table_of(app).current
        assert isinstance(row, LatentRow)
        await pilot.press("full_stop", "full_stop", "full_stop", "full_stop")
        assert table_of(app).model.sort == "diff"  # type: ignore[union-attr]
        assert "diff▼" in screen_text(app)
        assert table_of(app).current == row
        await pilot.press("r")
        assert "diff▲" in screen_text(app)
        await pilot.press("comma")
        assert table_of(app).model.sort == "promotes"  # type: ignore[union-attr]


async def test_a_search_shows_progress_then_its_result_and_fills_the_circuit(
    explorer: Make, session: FakeSession
) -> None:
    session.step_seconds, session.search_steps, session.hold_at = 0.01, 400, 100
    app = explorer(target=0.9)
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("s")
        await wait_for(pilot, lambda: "step 100/400" in screen_text(app) and "faithfulness  ━ soft" in screen_text(app))
        # The rate is known after the second step, and on the screen after the next tick.
        await wait_for(pilot, lambda: re.search(r" optimise \d+(\.\d)?/s 15 s left", screen_text(app).splitlines()[0]))
        await pilot.press("p")
        await wait_for(pilot, lambda: app.main.shown.search.phase == "paused")
        assert "paused" in screen_text(app)
        await pilot.press("p", "S")
        await wait_for(pilot, lambda: app.main.shown.search.phase == "done")
        await shows(pilot, "stopped early", "train", "Train and test part")
        await pilot.press("v")
        await shows(pilot, "━ soft")
        await pilot.press("1")
        found = shown_size(app)
        await wait_for(pilot, lambda: screen_text(app).splitlines()[3].rstrip().endswith(" kept"))
        await edit(pilot, "j", "x")
        assert shown_size(app) < found
        await wait_for(pilot, lambda: f"{shown_size(app)} / {len(session.table)}" in screen_text(app))


async def test_the_form_says_what_it_cannot_read(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        form = app.main.query_one(SearchForm)
        form._settings["steps"].input.value = "many"
        await pilot.press("s")
        await wait_for(pilot, lambda: any("steps=many: " in n.message for n in app._notifications))
        assert not any(call.startswith("search") for call in session.calls)
        form._settings["steps"].input.value = "20"
        form._settings["eliminate"].input.value = "no"
        form._target.input.value = "0.8"
        await searched(pilot)
        assert "search mask 0.8 0 {'steps': 20, 'eliminate': False}" in session.calls


async def test_the_form_asks_for_objectives_ablations_and_robustness(explorer: Make) -> None:
    app = explorer(target=0.95)
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        form = app.main.query_one(SearchForm)
        form._robust.input.value = "yes"
        assert form.spec() == asked_spec("mask", 0, {}, ablations=ROBUST_ABLATIONS, robust=True)
        form._robust.input.value = "no"
        form._objective.input.value, form._ablations.input.value = "logit-diff, kl", "zero"
        form._target.input.value = "0.9, kl=0.8"
        held = (Objective("logit-diff", 0.9), Objective("kl", 0.8))
        assert form.spec() == SearchSpec("mask", 0.9, 0, {}, held, ("zero",))
        for field, text, says in (
            (form._objective, "kl,dl", "objective dl: unknown"),
            (form._ablations, "none", "ablation none: unknown"),
            (form._robust, "maybe", "robust 'maybe' is neither yes nor no"),
        ):
            before, field.input.value = field.input.value, text
            with pytest.raises(UserError, match=says):
                form.spec()
            field.input.value = before


async def test_a_search_that_holds_more_shows_every_value(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        await searched(pilot)
        result = app.main.shown.search.result
        assert result is not None
        held = (HeldValue("kl", 0.9, "zero", "", 0.812, 0.805), HeldValue("logit-diff", 0.9, "mean", "", 0.97, 0.96))
        search = replace(app.main.shown.search, result=replace(result, held=held))
        await pilot.press("4")
        app.main.query_one(SearchReport).show(search, ())
        await shows(pilot, "kl zero", "0.812", "0.805", "below 0.90", "logit-diff mean")


async def test_another_method_brings_its_own_settings(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        await pilot.press("4")
        app.main.query_one(SearchForm).query_one(Select).value = "published"
        await shows(pilot, "lambda")
        await searched(pilot)
        assert "search published 0.95 0 {}" in session.calls


async def test_what_the_session_refuses_is_a_message(explorer: Make, session: FakeSession) -> None:
    app = explorer(target=0.99)
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("s")
        await wait_for(pilot, lambda: any("reaches only 0.985" in n.message for n in app._notifications))
        await pilot.press("1", "space")
        await wait_for(pilot, lambda: shown_size(app) > 0)


async def test_the_latent_pane_follows_the_cursor_when_it_rests(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        await wait_for(pilot, lambda: "latent 0 7" in session.calls)
        for _ in range(4):
            table_of(app).action_cursor_by(1)
        row = table_of(app).current
        assert isinstance(row, LatentRow)
        await wait_for(pilot, lambda: app.main.shown.latent is not None and app.main.shown.latent.latent == row.latent)
        asked = [call for call in session.calls if call.startswith("latent")]
        assert len(asked) == 2, "latents passed over are not computed"
        text = screen_text(app)
        for part in ("activations", "by position", "fires most on", "promotes", "suppresses", "nearest"):
            assert part in text


async def test_a_hidden_latent_pane_asks_for_nothing(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("j", "j")
        await pilot.pause(2 * CURSOR_REST)
        assert not any(call.startswith(("latent", "prompt")) for call in session.calls)
        await pilot.press("2")
        await wait_for(pilot, lambda: app.main.shown.latent is not None)
        assert app.focused is app.main.query_one(LatentPane)


async def test_a_prompt_leads_to_its_nodes_and_a_node_to_the_circuit(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await searched(pilot)
        await pilot.press("3")
        prompts = app.main.query_one(PromptList)
        await wait_for(pilot, lambda: prompts.view is not None)
        rows = prompts.view.rows  # type: ignore[union-attr]
        assert abs(rows[0].circuit - rows[0].plain) >= abs(rows[-1].circuit - rows[-1].plain)
        await pilot.press("j", "enter")
        nodes = app.main.query_one(PromptNodes)
        await wait_for(pilot, lambda: nodes.explanation is not None and nodes.explanation.done)
        await pilot.press("tab", "j", "enter")
        await wait_for(pilot, lambda: app.focused is table_of(app))
        node = nodes.nodes[1]
        row = table_of(app).current
        assert row is not None
        assert node in (row.nodes if isinstance(row, LatentRow) else (row.node,) if isinstance(row, NodeRow) else ())


async def test_answers_of_many_words_leave_room_for_the_prompt(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("3")
        prompts = app.main.query_one(PromptList)
        await wait_for(pilot, lambda: prompts.view is not None)
        first = prompts.view.rows[0]  # type: ignore[union-attr]
        plain = prompts.line(0, 80).text
        prompts.view = PromptsView(0, (replace(first, answer=" so" * 40, wrong=" no" * 40),))
        long = prompts.line(0, 80).text
        assert long.startswith(plain[:12])
        assert "so so…/no no" in long
        assert long.split()[-1] == plain.split()[-1], "the numbers stay where they are"
        assert len(long) == len(plain)


async def test_prompts_follow_the_circuit(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        await pilot.press("space")
        await wait_for(
            pilot,
            lambda: (
                app.main.shown.prompts is not None
                and app.main.shown.circuit is not None
                and app.main.shown.prompts.version == app.main.shown.circuit.version == 1
            ),
        )


async def test_tab_walks_through_all_panes_on_a_small_screen(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        seen = ["circuit"]
        for _ in range(40):  # a form has a stop for each of its fields
            await pilot.press("tab")
            if app.main.panes.current != seen[-1]:
                seen.append(app.main.panes.current)
            if seen[-1] == "circuit" and len(seen) > 1:
                break
        assert seen == [*PANES, "circuit"]
        await pilot.press("shift+tab")
        await wait_for(pilot, lambda: app.main.panes.current == list(PANES)[-1])


async def test_a_snapshot_is_compared_and_restored(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("c")
        await wait_for(pilot, lambda: any("no snapshot yet" in n.message for n in app._notifications))
        await edit(pilot, "space")
        await opens(pilot, AskText, "w")
        await pilot.press(*"ab", "enter")
        await wait_for(pilot, lambda: app.main.shown.circuit.snapshots == ("ab",))  # type: ignore[union-attr]
        before = shown_size(app)
        await edit(pilot, "j", "space")
        assert shown_size(app) != before
        await opens(pilot, CompareScreen, "c")
        await wait_for(pilot, lambda: any(view._comparison for view in app.screen.query(ComparisonView)))
        await shows(pilot, "only current")
        await pilot.press("enter")
        await wait_for(pilot, lambda: shown_size(app) == before)


async def test_an_export_shows_its_path_and_the_circuit_is_saved(explorer: Make, tmp_path: Path) -> None:
    app = explorer(out=tmp_path / "c.json")
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await edit(pilot, "space")
        await opens(pilot, AskText, "e")
        assert app.screen.query_one(Input).value == str(tmp_path / "c.json")
        await pilot.press("enter")
        await wait_for(pilot, lambda: any(str(tmp_path / "c.json") in n.message for n in app._notifications))
        assert (tmp_path / "c.json").exists()
        await pilot.press("q")
    assert app.return_code == 0


async def test_an_export_that_fails_is_a_message_and_nothing_is_lost(explorer: Make, tmp_path: Path) -> None:
    app = explorer(out=tmp_path / "missing" / "c.json")
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await edit(pilot, "space")
        await opens(pilot, AskText, "e")
        await pilot.press("enter")
        await wait_for(pilot, lambda: any("there is no folder" in n.message for n in app._notifications))
        assert app.main.unsaved


async def test_quitting_asks_only_if_something_would_be_lost(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await edit(pilot, "space")
        await opens(pilot, ConfirmQuit, "q")
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.screen is app.main)
        assert app.is_running
        await opens(pilot, ConfirmQuit, "ctrl+q")
        await pilot.press("q")
    assert app.return_code == 0
    assert not app.engine.alive


async def test_export_from_the_question_then_quits(explorer: Make, tmp_path: Path) -> None:
    app = explorer(out=tmp_path / "c.json")
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await edit(pilot, "space")
        await opens(pilot, ConfirmQuit, "q")
        await opens(pilot, AskText, "e")
        await pilot.press("enter")
        await wait_for(pilot, lambda: not app.is_running or app._exit)
    assert (tmp_path / "c.json").exists()


async def test_help_palette_and_themes(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await opens(pilot, HelpScreen, "question_mark")
        await shows(pilot, "Switch the node")
        await pilot.press("escape")
        for name in ("light", "ansi", "dark"):
            await pilot.press("t")
            await wait_for(pilot, lambda name=name: app.theme == name)
        await pilot.press("ctrl+p")
        await pilot.press(*"invert")
        await wait_for(pilot, lambda: "Invert" in screen_text(app))
        await pilot.press("enter")
        await pilot.press("enter") if app.screen is not app.main else None
        await wait_for(pilot, lambda: shown_size(app) > 0)


async def test_a_screen_too_small_says_so_until_it_is_larger(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=(70, 20)) as pilot:
        await ready(pilot)
        await shows(pilot, "needs 80×24")
        await pilot.resize_terminal(80, 24)
        await shows(pilot, "faithfulness")
        assert "needs 80×24" not in screen_text(app)
        await pilot.resize_terminal(160, 50)
        await shows(pilot, "Circuit", "Latent", "Prompts", "Search")


async def test_what_is_being_loaded_is_on_the_screen(explorer: Make, session: FakeSession) -> None:
    gate = threading.Event()
    app = explorer(opener=gated_opener(session, gate))
    async with app.run_test(size=NARROW) as pilot:
        await wait_for(pilot, lambda: "reading 3 SAEs" in screen_text(app))
        await pilot.press("space", "s", "e", "slash", "a", "2", "1")
        gate.set()
        await ready(pilot)
        await settled(pilot)
        assert shown_size(app) == 0, "keys before the session is open do nothing"


async def test_what_cannot_be_opened_stays_on_the_screen_and_quits_with_2(explorer: Make) -> None:
    def failing(request: Any, progress: Any) -> Any:
        raise UserError("--task svo: there is no such task; circuit-tui tasks lists them")

    app = explorer(opener=failing)
    async with app.run_test(size=NARROW) as pilot:
        await wait_for(pilot, lambda: "there is no such task" in screen_text(app))
        await pilot.press("s", "space", "e")
        await pilot.press("q")
    assert app.return_code == 2


async def test_nothing_is_drawn_while_nothing_changes(explorer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        await edit(pilot, "space")
        await settled(pilot)
        drawn: list[Any] = []
        display = app._display
        monkeypatch.setattr(app, "_display", lambda screen, what: (drawn.append(what), display(screen, what)))
        await pilot.pause(0.8)
        assert drawn == []


async def test_no_color_uses_no_colour_and_still_tells_on_from_off(
    explorer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("space")
        await shows(pilot, "●", "▲ +")
        table = table_of(app)
        for y in range(5):
            for segment in table.render_line(y):
                assert segment.style is None or segment.style.color is None or segment.style.color.is_default


async def test_low_bandwidth_is_slower_and_takes_the_terminals_colours(explorer: Make) -> None:
    app = explorer(low_bandwidth=True)
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        assert (app.theme, app.main.chart_rate, app.animation_level) == ("ansi", 2.0, "none")


def test_an_unknown_theme_is_refused_with_the_names(explorer: Make) -> None:
    with pytest.raises(UserError, match="dark, light, ansi"):
        explorer(theme="pink")


async def test_the_mouse_does_what_the_keys_do(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.click(CircuitTable, offset=(30, 4))
        row = table_of(app).current
        assert isinstance(row, LatentRow)
        assert table_of(app).cursor == 4
        await pilot.click(CircuitTable, offset=(1, 4))
        await wait_for(pilot, lambda: shown_size(app) == len(row.nodes))
        tabs = screen_text(app).splitlines()[3]
        await pilot.click("#tabs", offset=(tabs.index("3 "), 0))
        await wait_for(pilot, lambda: app.main.panes.current == "prompts")
        footer = screen_text(app).splitlines()[-1]
        await pilot.click("#footer", offset=(footer.index("undo"), 0))
        await wait_for(pilot, lambda: shown_size(app) == 0)


async def test_the_mask_of_the_latent_on_the_screen_moves_during_a_search(
    explorer: Make, session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    from circuit_tui.tui.screens import presenter

    monkeypatch.setattr(presenter, "REFRESH_LATENT", 1)
    session.step_seconds, session.search_steps = 0.01, 10_000
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        await pilot.press("s")
        await wait_for(pilot, lambda: sum(call.startswith("latent") for call in session.calls) > 3)


async def test_a_new_circuit_puts_the_cursor_on_a_latent(explorer: Make) -> None:
    app = explorer(target=0.5)
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("G")
        await searched(pilot)
        assert isinstance(table_of(app).current, LatentRow)
