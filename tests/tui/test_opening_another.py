"""Another task, circuit or model in place of what is open."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from circuit_example import example
from fake_session import METHODS, FakeSession
from textual.widgets import Input, Select
from waiting import edit, opens, ready, searched, settled, shown_size, shows, wait_for

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.tui.app import ExplorerApp, named_request
from circuit_tui.tui.engine.session_protocol import Opened
from circuit_tui.tui.screens.confirm_quit import ConfirmQuit
from circuit_tui.tui.screens.export_to import ExportTo
from circuit_tui.tui.screens.open_form import OpenForm
from circuit_tui.tui.widgets.loading import Loading

Make = Callable[..., ExplorerApp]
NARROW, WIDE = (80, 30), (160, 50)


class Opener:
    """Opens `sessions` one after the other; an error among them is raised. `gate` holds the second opening."""

    def __init__(self, *sessions: FakeSession | Exception) -> None:
        self.left = list(sessions)
        self.requests: list[OpenRequest] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, request: OpenRequest, progress: Any) -> Opened:
        self.requests.append(request)
        if len(self.requests) > 1:
            assert self.gate.wait(60)
        opened = self.left.pop(0)
        if isinstance(opened, Exception):
            raise opened
        return opened, METHODS


@pytest.fixture(autouse=True)
def no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("circuit_tui.tui.screens.open_form.catalogue", lambda: ())


async def choose(pilot: Any, task: str) -> None:
    """Fill in the form, which is on the screen, and open."""
    form = pilot.app.screen
    assert isinstance(form, OpenForm)
    form.query_one("#task", Select).value = task
    await pilot.press("ctrl+o")


def other_session() -> FakeSession:
    return FakeSession(latents=10)


async def test_another_task_begins_on_a_fresh_screen(explorer: Make, session: FakeSession) -> None:
    other = other_session()
    opener = Opener(session, other)
    app = explorer(opener)
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        await pilot.press("slash", *"pos=verb", "enter", "3", "enter")
        before = app.main
        opener.gate.clear()
        await opens(pilot, OpenForm, "O")
        await choose(pilot, "ioi")
        await wait_for(pilot, lambda: app.main.query_one(Loading).display)
        await pilot.press("1", "space", "u")
        opener.gate.set()
        await wait_for(pilot, lambda: app.main is not before)
        await ready(pilot)
        await settled(pilot)
        assert opener.requests[1].task == "ioi"
        assert app.main.shown.table is other.table
        assert app.screen is app.main
        rows = app.main.panes.circuit.table.model
        assert rows is not None
        assert (rows.filter, rows.n_listed) == ("", len(other.table))
        assert not [call for call in other.calls if call.startswith("toggle")]
        await edit(pilot, "1", "j", "space")
        assert other.kept
        assert not session.kept
        await searched(pilot)
        assert app.engine.request.task == "ioi"


async def test_an_opening_that_fails_leaves_everything(explorer: Make, session: FakeSession) -> None:
    session.step_seconds, session.hold_at = 0.005, 20
    opener = Opener(session, UserError("ioi: no such animal"))
    app = explorer(opener)
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot)
        await edit(pilot, "j", "space")
        await pilot.press("slash", *"pos=verb", "enter", "s")
        await wait_for(pilot, lambda: app.main.shown.search.live)
        kept, main = session.kept, app.main
        await opens(pilot, ConfirmQuit, "O")
        await shows(pilot, "Open something else without exporting?", "a circuit of")
        await pilot.press("y")
        await wait_for(pilot, lambda: isinstance(app.screen, OpenForm))
        await choose(pilot, "ioi")
        await wait_for(pilot, lambda: any("no such animal" in note.message for note in app._notifications))
        await wait_for(pilot, lambda: app.main.shown.phase == "ready" and not app.main.query_one(Loading).display)
        assert app.main is main
        assert session.kept == kept
        rows = app.main.panes.circuit.table.model
        assert rows is not None
        assert rows.filter == "pos=verb"
        steps = session.calls.count("step")
        await wait_for(pilot, lambda: session.calls.count("step") > steps)
        session.hold_at = None
        await wait_for(pilot, lambda: app.main.shown.search.phase == "done")
        assert shown_size(app) == len(session.kept)


async def test_an_export_comes_first_and_cancelling_changes_nothing(explorer: Make, session: FakeSession) -> None:
    opener = Opener(session)
    app = explorer(opener)
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await edit(pilot, "j", "space")
        await opens(pilot, ConfirmQuit, "O")
        await pilot.press("escape")
        assert app.screen is app.main
        await opens(pilot, ConfirmQuit, "O")
        await opens(pilot, ExportTo, "e")
        await pilot.press("enter")
        await wait_for(pilot, lambda: "export" in session.calls and not app.main.unsaved)
        await opens(pilot, OpenForm, "O")
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.screen is app.main)
        assert len(opener.requests) == 1


async def test_after_a_failed_start_something_else_can_be_opened(explorer: Make, session: FakeSession) -> None:
    app = explorer(Opener(UserError("gpt3: no such model"), session))
    async with app.run_test(size=NARROW) as pilot:
        await wait_for(pilot, lambda: app.loaded and app.engine.state.phase == "failed")
        await shows(pilot, "gpt3: no such model")
        await pilot.press("space")
        await opens(pilot, OpenForm, "O")
        await choose(pilot, "ioi")
        await ready(pilot)
        await edit(pilot, "j", "space")


async def test_a_circuit_file_says_what_to_open(explorer: Make, session: FakeSession, tmp_path: Path) -> None:
    import json

    from circuit_example import example

    (tmp_path / "mine.json").write_text(json.dumps(example()))
    (tmp_path / "bad.json").write_text("{}")
    opener = Opener(session, other_session())
    app = explorer(opener)
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await opens(pilot, OpenForm, "O")
        form = app.screen
        form.query_one("#circuit", Input).value = "bad.json"
        await pilot.press("ctrl+o")
        await shows(pilot, "bad.json")
        assert app.screen is form
        form.query_one("#circuit", Input).value = "mine.json"
        await shows(pilot, "mine.json says what to open")
        await pilot.press("ctrl+o")
        await wait_for(pilot, lambda: len(opener.requests) == 2)
        assert opener.requests[1].circuit == Path("mine.json")


async def test_a_device_is_freed_first_and_a_failure_opens_what_was_there_again(
    explorer: Make, session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.info = replace(session.info, device="cuda:0")
    again = FakeSession()
    opener = Opener(session, UserError("no room for ioi"), again)
    taken: list[object] = []
    monkeypatch.setattr("circuit_tui.core.session.aside.put_aside", lambda session: sorted(session.kept))
    monkeypatch.setattr("circuit_tui.core.session.aside.take_back", lambda session, aside: taken.append(aside))
    app = explorer(opener)
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot)
        await edit(pilot, "j", "space")
        held: list[bool] = []
        call = opener.__class__.__call__

        def watched(request: OpenRequest, progress: Any) -> Opened:
            held.append(app.engine._session is not None)
            return call(opener, request, progress)

        app.engine._opener = watched
        await opens(pilot, ConfirmQuit, "O")
        await pilot.press("y")
        await wait_for(pilot, lambda: isinstance(app.screen, OpenForm))
        await choose(pilot, "ioi")
        await wait_for(pilot, lambda: any("is there again" in note.message for note in app._notifications))
        assert held == [False, False]
        assert taken == [sorted(session.kept)]
        assert opener.requests[2] == opener.requests[0]
        before = len(again.kept)
        await edit(pilot, "k", "space")
        assert len(again.kept) > before


def test_what_a_circuit_file_names_can_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(example()))
    request = named_request(OpenRequest(circuit=path, device="cpu"))
    assert (request.circuit, request.device) == (None, "cpu")
    assert (request.model, request.task) == (None, example()["task"]["source"]["name"])
    assert named_request(OpenRequest(task="ioi")) == OpenRequest(task="ioi")
    path.write_text("{}")
    assert named_request(OpenRequest(circuit=path)) == OpenRequest(circuit=path)
