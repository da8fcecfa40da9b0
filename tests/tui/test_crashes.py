"""What used to end the explorer: keys while it opens, markup in what it shows, screens that come or go too early."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_session import FakeSession, gated_opener
from textual import events
from textual.command import CommandPalette
from textual.geometry import Size
from textual.screen import Screen
from textual.widgets import Input
from textual.widgets._toast import Toast
from waiting import edit, loaded, opens, ready, screen_text, settled, shown_size, shows, wait_for

from circuit_tui.core.errors import UserError
from circuit_tui.tui.actions import PANES
from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.engine import commands
from circuit_tui.tui.input_order import is_busy
from circuit_tui.tui.picker import PickerApp
from circuit_tui.tui.resilient_app import MOST_ERRORS
from circuit_tui.tui.screens.ask_text import AskText
from circuit_tui.tui.screens.choose_file import FileTree
from circuit_tui.tui.screens.compare import CompareScreen, ComparisonView
from circuit_tui.tui.screens.help import HelpScreen
from circuit_tui.tui.widgets.circuit_pane import FilterInput
from circuit_tui.tui.widgets.circuit_table import CircuitTable

Make = Callable[..., ExplorerApp]
NARROW, WIDE = (80, 24), (160, 50)
ODD = "x[/] [red]y \x1b[31m \x07 \u202e\u200f 🧪 漢 [@click=app.exit]z [b"
DRAWN = "x[/] [red]y ·[31m · ·· 🧪 漢 [@click=app.exit]z [b"  # the same with every control code replaced


def at_once(app: ExplorerApp, *keys: str) -> None:
    """Send keys in one packet."""
    for key in keys:
        app.post_message(events.Key(key, key if len(key) == 1 else None))


def controls(text: str) -> set[str]:
    """The characters of a screen that a terminal would obey."""
    return {c for c in text.replace("\n", "") if not c.isprintable()}


@pytest.mark.parametrize("size", [NARROW, WIDE])
async def test_any_key_while_the_session_opens_changes_nothing(
    explorer: Make, session: FakeSession, size: tuple[int, int]
) -> None:
    gate = threading.Event()
    app = explorer(opener=gated_opener(session, gate))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot)
        for key in (
            "tab",
            "shift+tab",
            "enter",
            "escape",
            "x",
            "i",
            "o",
            "full_stop",
            "r",
            "v",
            "c",
            "T",
            "J",
            "l",
            "h",
        ):
            await pilot.press(key)
        for pane in reversed(PANES.values()):
            await pilot.press(pane, "tab", "down", "enter", "space", "shift+tab")
        await pilot.resize_terminal(20, 5)
        await pilot.click(offset=(3, 3))
        await pilot.resize_terminal(*size)
        gate.set()
        await ready(pilot)
        await settled(pilot)
        assert shown_size(app) == 0
        await pilot.press("tab")
        assert app.focused is not None


@pytest.mark.parametrize("text", ["[/", "[/]", "[red]", "[b", "\x1b[31m", "🧪", "\u202exyz"])
async def test_what_is_typed_into_the_filter_is_no_markup(explorer: Make, text: str) -> None:
    app = explorer()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        await pilot.press("slash")
        for character in text:
            app.post_message(events.Key(character, character))
        field = app.main.query_one(FilterInput)
        typed = "".join(c for c in text if c.isprintable())
        await wait_for(pilot, lambda: field.value == typed)
        await shows(pilot, f"matching “{typed}”", f"Nothing matches “{typed}”")
        assert not controls(screen_text(app))


async def test_what_is_pasted_is_one_line_without_control_codes(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("slash")
        app.post_message(events.Paste(f"{ODD}\nsecond line"))
        field = app.main.query_one(FilterInput)
        await wait_for(pilot, lambda: field.value == "".join(c for c in ODD if c.isprintable()))
        app.post_message(events.Paste("y" * 100_000))
        await wait_for(pilot, lambda: any("characters were pasted" in n.message for n in app._notifications))
        assert len(field.value) < 5000
        app.post_message(events.Paste("\n"))
        await pilot.pause()


def with_odd_names(session: FakeSession) -> FakeSession:
    """Put `ODD` into every name, label, token and warning that the session has."""
    table = session.table
    n = len(table)
    sites = tuple(replace(site, hook=ODD, short=f"L{i}{ODD}", sae_name=ODD) for i, site in enumerate(table.sites))
    session.table = replace(table, sites=sites, positions=(ODD,) * len(table.positions), label=(ODD,) * n)
    session.info = replace(session.info, model=ODD, task=ODD, device=ODD, warnings=(ODD,))
    row = session._row
    session._row = lambda index: replace(row(index), text=ODD, answer=ODD, wrong=ODD)  # type: ignore[method-assign]
    latent = session.latent_view

    def odd_latent(site: int, number: int) -> Any:
        view = latent(site, number)
        bands = tuple(
            replace(band, examples=tuple(replace(p, tokens=(ODD,) * len(p.tokens)) for p in band.examples))
            for band in view.bands
        )
        pairs = tuple((ODD, weight) for _, weight in view.promotes)
        profile = tuple((ODD, *rest) for _, *rest in view.profile)
        path = {f"{name}{ODD}": value for name, value in view.mask_path.items()}
        return replace(view, label=ODD, bands=bands, promotes=pairs, suppresses=pairs, profile=profile, mask_path=path)

    session.latent_view = odd_latent  # type: ignore[method-assign]
    audit = session.audit_view

    def odd_audit() -> Any:
        view = audit()
        return view and replace(view, findings=tuple(replace(f, says=ODD) for f in view.findings))

    session.audit_view = odd_audit  # type: ignore[method-assign]
    return session


@pytest.mark.parametrize("size", [NARROW, WIDE])
async def test_no_name_reaches_the_terminal_as_markup_or_as_a_control_code(
    explorer: Make, session: FakeSession, size: tuple[int, int]
) -> None:
    with_odd_names(session)
    app = explorer()
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        await wait_for(pilot, lambda: any("x[/] [red]y" in n.message for n in app._notifications))
        await edit(pilot, "space", "x", "i", "j", "space")
        await pilot.press("A")
        await wait_for(pilot, lambda: session.audit_view() is not None and len(session.audit_view().findings) > 3)  # type: ignore[union-attr]
        for pane in PANES.values():
            await pilot.press(pane)
            await settled(pilot)
            await pilot.press("enter")
            await settled(pilot)
            assert not controls(screen_text(app)), f"pane {pane}"
        await opens(pilot, AskText, "1", "w")
        app.screen.query_one(Input).value = ODD
        await pilot.press("enter")
        await wait_for(pilot, lambda: bool(app.main.shown.circuit and app.main.shown.circuit.snapshots))
        await edit(pilot, "G", "space")
        await opens(pilot, CompareScreen, "c")
        await wait_for(pilot, lambda: app.screen.query_one(ComparisonView)._comparison is not None)
        await pilot.pause()
        assert "x[/] [red]y ·[31m" in screen_text(app)
        assert not controls(screen_text(app))


async def test_an_error_is_shown_as_it_is(explorer: Make) -> None:
    def failing(request: Any, progress: Any) -> Any:
        raise UserError(f"--task {ODD}: there is no such task")

    app = explorer(opener=failing)
    async with app.run_test(size=NARROW, notifications=True) as pilot:
        await shows(pilot, "there is no")
        assert DRAWN in " ".join(screen_text(app).split())
        app.notify(f"{ODD}\nsecond")
        await wait_for(pilot, lambda: any(DRAWN in n.message for n in app._notifications))
        await shows(pilot, "second")
        assert not controls(screen_text(app))


async def test_the_picker_shows_odd_names_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from circuit_tui.core.opening.request import OpenRequest

    monkeypatch.chdir(tmp_path)
    (tmp_path / "[red]a[.jsonl").write_text("")
    (tmp_path / "b\x1b[31m.jsonl").write_text("")
    app = PickerApp(OpenRequest(model=ODD), read=lambda: ())
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.pause()
        app.screen._say(ODD, error=True)  # type: ignore[attr-defined]
        app.query_one("#layers-hint").update(app.query_one("#layers-hint").content)  # type: ignore[attr-defined]
        await shows(pilot, DRAWN)
        await pilot.press("ctrl+f")
        await wait_for(pilot, lambda: bool(app.screen.query(FileTree)))
        await shows(pilot, "[red]a[.jsonl", "b·[31m.jsonl")
        assert not controls(screen_text(app))
        await pilot.press("escape", "escape")
    assert not app.errors


async def test_a_comparison_may_come_before_its_screen_lives(explorer: Make, session: FakeSession) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        app.engine.submit(commands.SaveSnapshot("one"))
        await edit(pilot, "space")
        app.engine.submit(commands.CompareSnapshot("one"))
        await wait_for(pilot, lambda: app.main.shown.comparison is not None)
        screen = CompareScreen(("one",), session.table, lambda name: None)
        screen.show(app.main.shown.comparison)
        app.push_screen(screen)
        screen.show(app.main.shown.comparison)
        await shows(pilot, "only current")
        await pilot.press("escape")
        at_once(app, "space", "c", "space", "escape", "c", "space")
        await wait_for(pilot, lambda: isinstance(app.screen, CompareScreen) or app.screen is app.main)


async def test_a_flat_list_may_become_empty(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await pilot.press("f", "j", "slash", *"zzzz", "enter", "a", "f", "f", "a", "full_stop", "r", "escape")
        await settled(pilot)
        assert app.main.query_one(CircuitTable).current is not None


async def test_the_palette_is_dismissed_once(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await opens(pilot, CommandPalette, "ctrl+p")
        await pilot.press(*"invert")
        await shows(pilot, "Invert")
        at_once(app, "enter", "enter", "enter")
        await wait_for(pilot, lambda: app.screen is app.main)
        await wait_for(pilot, lambda: shown_size(app) > 0)
        await settled(pilot)
        assert app.main.shown.circuit.version == 1, "inverted once"  # type: ignore[union-attr]
        await opens(pilot, CommandPalette, "ctrl+p")
        await pilot.click(offset=(5, 1), times=2)
        await wait_for(pilot, lambda: app.screen is app.main)
        at_once(app, "question_mark")
        await wait_for(pilot, lambda: isinstance(app.screen, HelpScreen))
        at_once(app, "escape", "escape", "q", "enter")
        await wait_for(pilot, lambda: not isinstance(app.screen, HelpScreen))
        assert app.main in app.screen_stack


async def test_clicks_on_a_toast_that_goes(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW, notifications=True) as pilot:
        await ready(pilot)
        app.notify("a toast", timeout=30)
        await shows(pilot, "a toast")
        toast = next(iter(app.screen.query(Toast)))
        x, y = toast.region.x + 2, toast.region.y + 1
        for kind in (events.MouseDown, events.MouseUp) * 3:
            app.post_message(kind(None, x, y, 0, 0, 1, False, False, False, screen_x=x, screen_y=y))
        toast.remove()
        for kind in (events.MouseDown, events.MouseUp) * 3:
            app.post_message(kind(None, x, y, 0, 0, 1, False, False, False, screen_x=x, screen_y=y))
        await wait_for(pilot, lambda: "a toast" not in screen_text(app))


async def test_a_key_whose_screen_was_covered_is_for_the_new_one(explorer: Make) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        app.push_screen(HelpScreen())
        assert not app.screen.is_mounted
        key = events.Key("escape", None)
        key._set_forwarded()  # it has passed through the screen below
        await app.on_event(key)
        assert isinstance(app.screen, HelpScreen)
        await wait_for(pilot, lambda: app.screen is app.main)


async def test_two_sizes_in_one_queue_do_not_take_turns_for_ever(
    explorer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await opens(pilot, HelpScreen, "question_mark")
        sizes = []
        resized = Screen._screen_resized
        monkeypatch.setattr(Screen, "_screen_resized", lambda self, size: (sizes.append(size), resized(self, size)))
        await pilot.resize_terminal(100, 30)
        for width, height in ((150, 45), NARROW, (130, 40)) * 3:
            size = Size(width, height)
            app._size = size
            for screen in app.screen_stack[1:]:
                screen.post_message(events.Resize(size, size))
        await wait_for(pilot, lambda: not is_busy(app))
        done = len(sizes)
        await pilot.pause(0.1)
        assert len(sizes) == done
        assert app.screen.size == app.main._size == (130, 40)


async def test_an_error_in_a_handler_is_told_and_the_explorer_goes_on(
    explorer: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = explorer()
    async with app.run_test(size=NARROW, notifications=True) as pilot:
        await ready(pilot)

        def broken() -> None:
            raise ValueError("the [/] handler\nbroke")

        monkeypatch.setattr(app.main, "action_invert", broken)
        await pilot.press("i")
        await shows(pilot, "ValueError: the [/] handler broke")
        app.main.set_timer(0.001, broken)
        app.main.call_after_refresh(broken)
        await wait_for(pilot, lambda: len(app.errors) == 3)
        assert len(app._notifications) == 1, "the same is told once"
        assert "Traceback" in caplog.text
        await edit(pilot, "space")
        app.errors.clear()
    assert app.crashed is None


async def test_a_pane_that_cannot_be_drawn_says_so_and_the_explorer_goes_on(
    explorer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = explorer()
    async with app.run_test(size=NARROW, notifications=True) as pilot:
        await ready(pilot)

        def broken(y: int) -> Any:
            raise ValueError("no line")

        table = app.main.query_one(CircuitTable)
        with monkeypatch.context() as patch:
            patch.setattr(table, "render_line", broken)
            for _ in range(MOST_ERRORS + 1):
                table.refresh()
                await pilot.pause()
            await shows(pilot, "This could not be drawn", "ValueError: no line")
            assert len(app.errors) == 1, "told once, however often it is drawn"
        table.refresh()
        await wait_for(pilot, lambda: "This could not be drawn" not in screen_text(app))
        await edit(pilot, "j", "space")
        app.errors.clear()


@pytest.mark.parametrize("method", ["compose", "on_mount"])
async def test_a_dialog_that_cannot_open_is_told_and_the_explorer_goes_on(
    explorer: Make, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    app = explorer()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)

        def broken(self: HelpScreen) -> Any:
            raise ValueError("no dialog")

        monkeypatch.setattr(HelpScreen, method, broken, raising=False)
        app.push_screen(HelpScreen())
        while app.screen is not app.main or not app.errors:
            await asyncio.sleep(0.01)
        await wait_for(pilot, lambda: any("no dialog" in note.message for note in app._notifications))
        await edit(pilot, "j", "space")
        app.errors.clear()


async def test_errors_that_do_not_stop_end_the_explorer(explorer: Make) -> None:
    app = explorer()
    with pytest.raises(ValueError, match="again"):  # noqa: PT012 the app raises it when it has ended
        async with app.run_test(size=NARROW) as pilot:
            await ready(pilot)
            for _ in range(MOST_ERRORS + 1):
                app.handler_failed(ValueError("again and again"))
            await wait_for(pilot, lambda: not app.is_running)
    app.errors.clear()
    assert app.return_code == 1
