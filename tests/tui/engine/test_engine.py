"""The engine without a screen: the order of commands, interleaving, stopping, errors."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fake_session import METHODS, FakeSession, opener

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import LoadProgress
from circuit_tui.tui.engine import commands
from circuit_tui.tui.engine.engine import Engine
from circuit_tui.tui.engine.messages import Exported, Notice


class Posted:
    def __init__(self) -> None:
        self.messages: list[Any] = []

    def __call__(self, message: Any) -> None:
        self.messages.append(message)

    def notices(self) -> list[Notice]:
        return [message for message in self.messages if isinstance(message, Notice)]


def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.002)


@pytest.fixture
def posted() -> Posted:
    return Posted()


@pytest.fixture
def engine(session: FakeSession, posted: Posted) -> Iterator[Engine]:
    engine = Engine(OpenRequest(), opener(session), posted, "x.log")
    engine.start()
    until(lambda: engine.state.phase == "ready")
    until(lambda: not engine._work_left)
    yield engine
    engine.stop()
    assert engine.join(60)


def idle(engine: Engine) -> Callable[[], bool]:
    return lambda: engine._queue.empty() and not engine._work_left


def test_in_a_backlog_edits_come_first_and_only_the_newest_view_survives() -> None:
    a, b, undo = commands.ToggleNode(1), commands.ToggleNode(1), commands.Undo()
    backlog = [commands.ShowLatent(0, 7), a, commands.ShowLatent(0, 20), commands.ShowPrompts(), undo, b]
    backlog.append(commands.ShowLatent(1, 33))
    assert commands.latest_wins(backlog) == [a, undo, b, commands.ShowPrompts(), commands.ShowLatent(1, 33)]


def test_everything_of_the_session_runs_in_one_thread(engine: Engine, session: FakeSession) -> None:
    for command in (commands.ToggleNode(3), commands.ShowLatent(0, 7), commands.ShowPrompts(), commands.Invert()):
        engine.submit(command)
    until(lambda: {"toggle_node", "latent 0 7", "prompts", "invert"} <= set(session.calls))
    until(idle(engine))
    assert session.threads == {"engine"}


def test_background_work_runs_until_nothing_is_left_and_again_after_an_edit(
    engine: Engine, session: FakeSession
) -> None:
    engine.submit(commands.KeepOnly(tuple(range(12))))
    until(lambda: engine.state.circuit is not None and engine.state.circuit.effects_done == 12)
    until(idle(engine))
    before = len(session.calls)
    time.sleep(0.05)
    assert len(session.calls) == before, "an idle engine asks for nothing"


def test_a_toggle_is_served_between_two_steps_of_a_search(engine: Engine, session: FakeSession) -> None:
    session.step_seconds, session.search_steps = 0.005, 10_000
    engine.submit(commands.StartSearch(SearchSpec("mask", 0.9, 0)))
    until(lambda: session.calls.count("step") > 3)
    engine.submit(commands.ToggleNode(5))
    until(lambda: engine.state.circuit is not None and engine.state.circuit.size == 1)
    at = session.calls.index("toggle_node")
    assert "step" in session.calls[at - 2 : at]
    steps = session.calls.count("step")
    until(lambda: session.calls.count("step") > steps + 2)
    assert engine.state.search.phase == "running"


class Calls(list[str]):
    """A list of calls that runs a callback at each step of a search."""

    def __init__(self, at_step: Callable[[], None]) -> None:
        super().__init__()
        self._at_step = at_step

    def append(self, call: str) -> None:
        super().append(call)
        if call == "step":
            self._at_step()


def test_nothing_comes_between_a_step_and_the_toggle_that_waits_for_its_end(
    engine: Engine, session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circuit_tui.tui.engine.engine.QUIET", 0.0)
    session.search_steps = 60
    session.calls = calls = Calls(lambda: engine.submit(commands.ToggleNode(5)))
    engine.submit(commands.StartSearch(SearchSpec("mask", 0.9, 0)))
    until(lambda: engine.state.search.phase == "done")
    until(idle(engine))
    assert "work" in calls[: calls.index("adopt")]
    followed = {after for before, after in pairwise(calls) if before == "step"}
    assert followed <= {"toggle_node", "adopt"}


@pytest.mark.parametrize("searching", [False, True])
def test_background_work_lets_a_while_pass_after_an_edit(
    engine: Engine, session: FakeSession, monkeypatch: pytest.MonkeyPatch, searching: bool
) -> None:
    monkeypatch.setattr("circuit_tui.tui.engine.engine.QUIET", 1e6)
    engine.submit(commands.ToggleNode(3))
    until(lambda: engine.state.circuit is not None and engine.state.circuit.size == 1)
    session.calls.clear()
    session.search_steps = 10_000
    if searching:
        engine.submit(commands.StartSearch(SearchSpec("mask", 0.9, 0)))
        until(lambda: session.calls.count("step") > 50)
    engine.submit(commands.ShowPrompts())
    until(lambda: "prompts" in session.calls)
    assert "work" not in session.calls
    engine._quiet_until = 0.0
    engine.submit(commands.ShowPrompts())
    until(lambda: "work" in session.calls)


def test_background_work_goes_on_during_a_search_but_seldom(
    engine: Engine, session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circuit_tui.tui.engine.engine.QUIET", 0.0)
    session.search_steps = 200
    engine.submit(commands.KeepOnly(tuple(range(12))))
    engine.submit(commands.StartSearch(SearchSpec("mask", 0.9, 0)))
    until(lambda: engine.state.search.phase == "done")
    calls = session.calls[session.calls.index("only") :]
    calls = calls[: calls.index("adopt")]
    assert 1 <= calls.count("work") <= calls.count("step") / 7


def test_a_found_circuit_is_adopted_and_can_be_undone(engine: Engine, session: FakeSession) -> None:
    epoch = engine.state.epoch
    engine.submit(commands.StartSearch(SearchSpec("mask", 0.9, 4, {"rate": 0.1})))
    until(lambda: engine.state.search.phase == "done")
    state = engine.state
    assert "search mask 0.9 4 {'rate': 0.1}" in session.calls
    assert state.search.result is not None
    assert state.circuit is not None
    assert state.circuit.size == len(state.search.result.nodes) > 0
    assert state.epoch == epoch + 1
    engine.submit(commands.Undo())
    until(lambda: engine.state.circuit is not None and engine.state.circuit.size == 0)


def test_pause_holds_the_search_and_a_second_one_lets_it_go_on(engine: Engine, session: FakeSession) -> None:
    session.step_seconds, session.search_steps = 0.002, 10_000
    engine.submit(commands.StartSearch(SearchSpec("mask", 0.9, 0)))
    until(lambda: "step" in session.calls)
    engine.submit(commands.PauseSearch())
    until(lambda: engine.state.search.phase == "paused")
    until(idle(engine))
    steps = session.calls.count("step")
    time.sleep(0.05)
    assert session.calls.count("step") == steps
    engine.submit(commands.PauseSearch())
    until(lambda: session.calls.count("step") > steps)


@pytest.mark.parametrize("paused", [False, True])
def test_stop_ends_the_search_with_what_it_has(engine: Engine, session: FakeSession, paused: bool) -> None:
    session.step_seconds, session.search_steps = 0.002, 10_000
    engine.submit(commands.StartSearch(SearchSpec("mask", 0.9, 0)))
    until(lambda: "step" in session.calls)
    if paused:
        engine.submit(commands.PauseSearch())
    engine.submit(commands.StopSearch())
    until(lambda: engine.state.search.phase == "done")
    assert engine.state.search.result is not None
    assert engine.state.search.result.stopped


def test_a_second_search_is_refused_while_one_runs(engine: Engine, session: FakeSession, posted: Posted) -> None:
    session.step_seconds, session.search_steps = 0.002, 10_000
    engine.submit(commands.StartSearch(SearchSpec("mask", 0.9, 0)))
    engine.submit(commands.StartSearch(SearchSpec("random", 0.9, 0)))
    until(posted.notices)
    assert "stop it first" in posted.notices()[0].text
    assert not any(call.startswith("search random") for call in session.calls)


def test_a_user_error_becomes_a_message_and_the_engine_goes_on(engine: Engine, posted: Posted) -> None:
    engine.submit(commands.Undo())
    engine.submit(commands.ToggleNode(0))
    until(lambda: engine.state.circuit is not None and engine.state.circuit.size == 1)
    assert [(notice.text, notice.severity) for notice in posted.notices()] == [("there is nothing to undo", "error")]


def test_an_unexpected_error_is_logged_and_names_the_log(
    engine: Engine, session: FakeSession, posted: Posted, caplog: pytest.LogCaptureFixture
) -> None:
    session.latent_error = ZeroDivisionError("odd")
    with caplog.at_level(logging.ERROR, "circuit_tui"):
        engine.submit(commands.ShowLatent(0, 7))
        engine.submit(commands.ToggleNode(0))
        until(posted.notices)
    until(lambda: engine.state.circuit is not None and engine.state.circuit.size == 1)
    assert "x.log" in posted.notices()[0].text
    assert caplog.records[0].exc_info is not None


def test_a_search_that_fails_ends_and_another_may_start(engine: Engine, session: FakeSession, posted: Posted) -> None:
    session.search_error = RuntimeError("out of memory")
    engine.submit(commands.StartSearch(SearchSpec("mask", 0.9, 0)))
    until(lambda: engine.state.search.phase == "failed")
    session.search_error = None
    engine.submit(commands.StartSearch(SearchSpec("mask", 0.9, 0)))
    until(lambda: engine.state.search.phase == "done")
    assert any("out of memory" in notice.text for notice in posted.notices())


def test_background_work_that_fails_is_not_tried_again_and_again(
    engine: Engine, session: FakeSession, posted: Posted
) -> None:
    def broken() -> bool:
        raise RuntimeError("no memory")

    session.work = broken  # type: ignore[method-assign]
    engine.submit(commands.ToggleNode(0))
    until(posted.notices)
    time.sleep(0.05)
    assert len(posted.notices()) == 1


def test_export_reports_the_path(engine: Engine, posted: Posted, tmp_path: Path) -> None:
    engine.submit(commands.Export(tmp_path / "c.json"))
    until(lambda: any(isinstance(message, Exported) for message in posted.messages))
    engine.submit(commands.Export(tmp_path / "missing" / "c.json"))
    until(posted.notices)
    assert "there is no folder" in posted.notices()[0].text


def test_stop_during_a_search_takes_one_step(session: FakeSession, posted: Posted) -> None:
    session.step_seconds, session.search_steps = 0.01, 100_000
    engine = Engine(OpenRequest(), opener(session), posted, "x.log")
    engine.start()
    engine.submit(commands.StartSearch(SearchSpec("mask", 0.9, 0)))
    until(lambda: "step" in session.calls)
    engine.stop()
    assert engine.join(60)
    count = len(posted.messages)
    time.sleep(0.03)
    assert len(posted.messages) == count


def test_stop_while_loading_leaves_at_the_next_stage(session: FakeSession, posted: Posted) -> None:
    gate = threading.Event()

    def slow(request: OpenRequest, progress: Callable[[LoadProgress], None]) -> Any:
        gate.wait()
        progress(LoadProgress("reading", 1, 2))
        raise AssertionError("it went on")

    engine = Engine(OpenRequest(), slow, posted, "x.log")
    engine.start()
    engine.stop()
    assert not engine.join(0.05), "an import cannot be interrupted: the thread is a daemon"
    gate.set()
    assert engine.join(60)
    assert engine.state.phase == "loading"


@pytest.mark.parametrize(
    ("error", "text"),
    [(UserError("task sva: there is no such task"), "there is no such task"), (OSError("broken"), "x.log")],
)
def test_what_cannot_be_opened_says_why(error: Exception, text: str, posted: Posted) -> None:
    def failing(request: OpenRequest, progress: Callable[[LoadProgress], None]) -> Any:
        raise error

    engine = Engine(OpenRequest(), failing, posted, "x.log")
    engine.start()
    until(lambda: engine.state.phase == "failed")
    assert text in engine.state.error
    engine.submit(commands.ToggleNode(0))
    until(posted.notices)
    engine.stop()
    assert engine.join(60)


def test_the_trace_of_a_long_search_stays_bounded(engine: Engine, session: FakeSession) -> None:
    session.search_steps = 3000
    engine.submit(commands.StartSearch(SearchSpec("mask", 0.9, 0)))
    until(lambda: engine.state.search.phase == "done")
    trace = engine.state.search.trace
    assert 200 < len(trace) <= 513
    assert trace[0].step == 1
    assert trace[-1].step == 3000
    assert [p.step for p in trace] == sorted({p.step for p in trace})


def test_methods_are_handed_to_the_screen(engine: Engine) -> None:
    assert engine.state.methods == METHODS


def test_what_would_help_is_said_before_the_first_search_and_not_again(
    engine: Engine, session: FakeSession, posted: Posted
) -> None:
    session.offers = ("--errors keep keeps 1.00.",)
    until(idle(engine))
    for seed in (0, 1):
        engine.submit(commands.StartSearch(SearchSpec("mask", 0.9, seed)))
        until(lambda seed=seed: any(call.startswith(f"search mask 0.9 {seed}") for call in session.calls))
        engine.submit(commands.StopSearch())
        until(lambda: not engine.state.search.live)
    assert [notice.text for notice in posted.notices()].count(session.offers[0]) == 1
