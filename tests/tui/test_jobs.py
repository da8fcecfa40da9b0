"""The explorer's jobs: what it keeps, offers at its next start, follows and leaves running."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_session import FakeSession, opener
from textual.pilot import Pilot
from waiting import ready, shows
from waiting import wait_for as until

from circuit_tui.core.jobs import autosave
from circuit_tui.core.jobs.job import Job, all_jobs, jobs_dir, new_job
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.runtime.user_log import user_log
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import SearchProgress
from circuit_tui.tui import job_control
from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.engine import commands, job_autosave
from circuit_tui.tui.explorer_options import ExplorerOptions
from circuit_tui.tui.screens.confirm_quit import ConfirmQuit
from circuit_tui.tui.screens.jobs import JobsScreen, OfferScreen

SIZE = (100, 32)


@pytest.fixture(autouse=True)
def own_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(autosave, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(job_autosave, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(job_control, "LOOK_EVERY", 0.02)


Make = Callable[..., ExplorerApp]


@pytest.fixture
def resumable(session: FakeSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A function that makes an explorer in a job, on the test's session unless another is given."""
    monkeypatch.chdir(tmp_path)

    def make(of: FakeSession | None = None) -> ExplorerApp:
        return ExplorerApp(OpenRequest(), ExplorerOptions(), opener=opener(of or session), autosave=True)

    return make


def die(app: ExplorerApp) -> None:
    """End as a killed process does: only what is on the disk is left of the job, and its lock is free."""
    app.engine.stop()
    assert app.engine.join(60)
    assert app.engine.autosave is not None
    app.engine.autosave.job.release()


def progress(step: int) -> SearchProgress:
    return SearchProgress("mask", "optimise", step, 60, 0.5, 0.9, None, 40, (40,), 0.1, 2.0)


async def edited(app: ExplorerApp, pilot: Pilot[Any], session: FakeSession) -> None:
    """Make edits, undo one, and save a snapshot; wait until all of it is on the disk."""
    await ready(pilot)
    toggles = (commands.ToggleNode(1), commands.ToggleNode(2))
    for command in (*toggles, commands.Undo(), commands.SaveSnapshot("mine")):
        app.engine.submit(command)
    assert app.engine.autosave is not None
    job = app.engine.autosave.job
    await until(pilot, lambda: (job.session or {}).get("names") == {"mine": [1]})
    assert session.future


async def test_a_session_that_was_cut_off_is_offered_and_comes_back(resumable: Make, session: FakeSession) -> None:
    app = resumable()
    async with app.run_test(size=SIZE) as pilot:
        await edited(app, pilot, session)
        die(app)
    again = FakeSession()
    app = resumable(again)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, OfferScreen))
        assert "A session was cut off" in str(app.screen.query(".title").first().render())
        assert app.engine.state.phase == "loading", "nothing is opened before the answer"
        await pilot.press("enter")
        await ready(pilot)
        await until(pilot, lambda: app.engine.state.circuit.snapshots == ("mine",))  # type: ignore[union-attr]
        assert (again.kept, again.past, again.future) == (session.kept, session.past, session.future)
        assert again.names == session.names
        assert len(all_jobs()) == 1, "the job is taken over"


@pytest.mark.parametrize("same", [True, False])
async def test_what_is_named_opens_at_once_unless_that_was_cut_off(
    session: FakeSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    request = OpenRequest(model="gpt2", task="ioi")
    asked = request if same else OpenRequest(circuit=tmp_path / "c.json")
    cut_off = new_job("find", request, SearchSpec("mask", 0.9, 0), None)
    cut_off.release()
    app = ExplorerApp(asked, ExplorerOptions(), opener=opener(session), autosave=True)
    async with app.run_test(size=SIZE) as pilot:
        if same:
            await until(pilot, lambda: isinstance(app.screen, OfferScreen))
            await pilot.press("escape")
        await ready(pilot)
        told = any("A search was cut off" in note.message for note in app._notifications)
        assert told != same
    assert cut_off.folder in [job.folder for job in all_jobs()], "the other work is still there"


async def test_a_search_that_was_cut_off_continues_at_its_step(resumable: Make, session: FakeSession) -> None:
    session.step_seconds, session.search_steps = 0.01, 100_000
    app = resumable()
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await pilot.press("s")
        await until(pilot, lambda: session.calls.count("save") > 8)
        die(app)
    (job,) = all_jobs()
    saved = int((job.search_folder / "step").read_text())
    again = FakeSession(step_seconds=0.0, search_steps=saved + 5)
    app = resumable(again)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, OfferScreen))
        assert "A search was cut off" in str(app.screen.query(".title").first().render())
        await pilot.press("enter")
        await until(pilot, lambda: app.engine.state.search.phase == "done")
        assert again.calls.count("step") < saved + 5, "it went on, not from the beginning"
        trace = app.engine.state.search.trace
        assert trace[0].step < saved, "the charts show the steps before"
        await until(pilot, lambda: job.spec.search is None)


async def test_an_engine_that_dies_says_so_and_what_was_done_is_offered(
    resumable: Make, session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(node: int) -> None:
        raise SystemExit("a library ended the thread")

    app = resumable()
    async with app.run_test(size=SIZE) as pilot:
        await edited(app, pilot, session)
        monkeypatch.setattr(session, "toggle_node", end)
        app.engine.submit(commands.ToggleNode(3))
        await until(pilot, lambda: app.engine.state.phase == "failed")
        await shows(pilot, "The engine stopped", "a library ended the thread")
        await pilot.press("q")
    assert app.return_code == 2
    assert app.jobs is not None
    assert "your work is kept" in app.jobs.close(wanted=True)
    again = resumable(FakeSession())
    async with again.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(again.screen, OfferScreen))
        await pilot.press("enter")
        await ready(pilot)
        await until(pilot, lambda: again.engine.state.circuit.snapshots == ("mine",))  # type: ignore[union-attr]


async def test_a_session_that_cannot_be_stored_is_a_message_and_the_engine_goes_on(
    resumable: Make, session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError("no state")

    app = resumable()
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        monkeypatch.setattr(session, "state", broken)
        app.engine.submit(commands.ToggleNode(1))
        await until(pilot, lambda: any("no state" in toast.message for toast in app._notifications))
        app.engine.submit(commands.ToggleNode(2))
        await until(pilot, lambda: {1, 2} <= session.kept)
        assert app.engine.alive


@pytest.mark.parametrize(("key", "left"), [("d", 1), ("escape", 2)])
async def test_an_offer_can_be_declined(resumable: Make, key: str, left: int) -> None:
    new_job("find", OpenRequest(), SearchSpec("mask", 0.9, 0), None).release()
    app = resumable()
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, OfferScreen))
        await pilot.press(key)
        await ready(pilot)
        assert len(all_jobs()) == left
        assert app.engine.state.search.phase == "none"


async def test_a_job_whose_files_have_changed_is_not_continued(resumable: Make, session: FakeSession) -> None:
    app = resumable()
    async with app.run_test(size=SIZE) as pilot:
        await edited(app, pilot, session)
        die(app)
    app = resumable(FakeSession(latents=12))
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await until(pilot, lambda: isinstance(app.screen, OfferScreen))
        await pilot.press("enter")
        await until(pilot, lambda: any("has changed (latents)" in n.message for n in app._notifications))
        assert app.engine.state.phase == "ready", "the explorer is there all the same"
        assert len(all_jobs()) == 2, "and the other job is left as it was"


async def test_worthless_jobs_are_removed(resumable: Make) -> None:
    new_job("explore", OpenRequest(), None, None).release()  # killed before anything was done
    old = new_job("detached", OpenRequest(), SearchSpec("mask", 0.9, 0), None)
    old.finish("done")
    old.mark_seen()
    old.release()
    for path in (old.folder, *old.folder.iterdir()):
        os.utime(path, (0, 0))
    app = resumable()
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        assert [job.name for job in all_jobs()] == [app.engine.autosave.job.name]  # type: ignore[union-attr]


async def test_a_search_in_another_process_is_watched_and_its_circuit_taken(
    resumable: Make, session: FakeSession, tmp_path: Path
) -> None:
    away = new_job("detached", OpenRequest(), SearchSpec("mask", 0.9, 0), None)
    away.add_progress(progress(7))
    app = resumable()
    async with app.run_test(size=SIZE) as pilot:
        # The lock belongs to this process, but to the explorer it must look as if another process held it.
        other = Job(away.folder)
        assert other.state == "running"
        await until(pilot, lambda: isinstance(app.screen, OfferScreen))
        assert "runs in the background" in str(app.screen.query(".title").first().render())
        await pilot.press("enter")
        await until(pilot, lambda: app.engine.state.search.phase == "running")
        away.add_progress(progress(8))
        await until(pilot, lambda: len(app.engine.state.search.trace) == 2)
        await pilot.press("p")
        await until(pilot, lambda: any("cannot be paused" in n.message for n in app._notifications))
        away.circuit.write_text("{}")
        away.finish("done")
        away.release()
        await until(pilot, lambda: app.engine.state.search.phase == "done")
        await until(pilot, lambda: "open_circuit" in session.calls)
        await until(pilot, lambda: away.seen)


async def test_a_search_in_another_process_that_dies_is_reported(resumable: Make) -> None:
    away = new_job("detached", OpenRequest(), SearchSpec("mask", 0.9, 0), None)
    app = resumable()
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, OfferScreen))
        await pilot.press("enter")
        await until(pilot, lambda: app.engine.state.search.phase == "running")
        away.release()  # as when its process is killed
        await until(pilot, lambda: app.engine.state.search.phase == "failed")
        await until(pilot, lambda: any("was cut off; J continues it" in n.message for n in app._notifications))


async def test_the_list_of_jobs_stops_discards_and_watches(
    resumable: Make, session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[str] = []
    monkeypatch.setattr(Job, "stop", lambda self: stopped.append(self.name))
    app = resumable()
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await pilot.press("J")
        await until(pilot, lambda: any("No search runs" in n.message for n in app._notifications))
        away = new_job("detached", OpenRequest(), SearchSpec("mask", 0.9, 0), None)
        await pilot.press("J")
        await until(pilot, lambda: isinstance(app.screen, JobsScreen))
        await pilot.press("S")
        await until(pilot, lambda: stopped == [away.name])
        await pilot.press("d")
        assert away.folder.exists(), "what runs is not discarded"
        await pilot.press("enter")
        await until(pilot, lambda: app.engine.state.search.phase == "running")
        away.finish("failed", "out of memory")
        away.release()
        await until(pilot, lambda: any("out of memory" in n.message for n in app._notifications))
        assert app.engine.state.search.phase == "failed"
        await pilot.press("J")
        await until(pilot, lambda: isinstance(app.screen, JobsScreen))
        await pilot.press("d")
        await until(pilot, lambda: not away.folder.exists())


@pytest.mark.parametrize(("weights", "watched"), [("1" * 64, True), ("2" * 64, False)], ids=["same", "other"])
async def test_a_search_is_watched_if_it_is_about_the_same_weights(
    resumable: Make, session: FakeSession, monkeypatch: pytest.MonkeyPatch, weights: str, watched: bool
) -> None:
    """Where they lie does not count: another installation may have begun it."""

    def opened(folder: str, sha256: str) -> dict[str, Any]:
        return {"task": "tiny", "sites": [{"hook": "h", "sae": f"{folder}/h", "weights_sha256": sha256}]}

    monkeypatch.setattr(session, "fingerprint", lambda: opened("/here", "1" * 64))
    app = resumable()
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        away = new_job("detached", OpenRequest(), SearchSpec("mask", 0.9, 0), None)
        away.change(subject=opened("/elsewhere", weights))
        await pilot.press("J")
        await until(pilot, lambda: isinstance(app.screen, JobsScreen))
        await pilot.press("enter")
        if watched:
            await until(pilot, lambda: app.engine.state.search.phase == "running")
        else:
            await until(pilot, lambda: any("not about what is open" in n.message for n in app._notifications))
        away.release()


async def test_quitting_during_a_search_asks_and_leaves_it_running(
    resumable: Make, session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Job] = []
    monkeypatch.setattr(job_control, "start_detached", lambda job: started.append(job) or 4711)
    session.step_seconds, session.search_steps = 0.005, 100_000
    app = resumable()
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        await pilot.press("s")
        await until(pilot, lambda: session.calls.count("save") > 2)
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, ConfirmQuit))
        await pilot.press("b")
        await until(pilot, lambda: not app.is_running or app._exit)
    assert app.jobs is not None
    said = app.jobs.close(wanted=True)
    assert "process 4711" in said
    (job,) = started
    assert job.spec.search == SearchSpec("mask", 0.95, 0)
    assert int((job.search_folder / "step").read_text()) > 0


@pytest.mark.parametrize(("wanted", "left"), [(True, 0), (False, 1)])
async def test_a_job_goes_when_the_user_leaves_and_stays_when_not(
    resumable: Make, session: FakeSession, wanted: bool, left: int
) -> None:
    app = resumable()
    async with app.run_test(size=SIZE) as pilot:
        await edited(app, pilot, session)
    assert app.jobs is not None
    app.jobs.close(wanted=wanted)
    assert len(all_jobs()) == left


def test_damaged_folders_are_no_jobs() -> None:
    job = new_job("find", OpenRequest(), None, None)
    job.release()
    for name, text in (("empty", ""), ("list", "[]"), ("half", json.dumps({"kind": "find"}))):
        folder = jobs_dir() / name
        folder.mkdir()
        (folder / "job.json").write_text(text)
    shutil.copy(job.folder / "job.json", jobs_dir())
    assert [other.name for other in all_jobs()] == [job.name]


async def test_log_records_for_the_user_become_notices(resumable: Make) -> None:
    app = resumable()
    async with app.run_test(size=SIZE) as pilot:
        await ready(pilot)
        user_log.warning("Out of memory: %s goes on.", "it")
        await until(pilot, lambda: any("Out of memory: it goes on." in n.message for n in app._notifications))
    assert not user_log.handlers
