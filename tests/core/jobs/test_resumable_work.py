"""Work that was cut off: found again by what it is, taken by one process at a time, gone when it is over or too old."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tiny.models_with_saes import TinyModel
from tiny.searches import QUICK, solvable_problem
from tiny.sessions import make_experiment

from circuit_tui.core.jobs import resumable_work
from circuit_tui.core.jobs.resumable_work import KEPT_DAYS, ResumableWork, resumable_dir
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.runs.record import RunRecord
from circuit_tui.core.runs.run_one import run_one
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import SearchProgress


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class Killed(BaseException):
    """What a kill is to the code: nothing runs after it that could tidy up."""


def _work(what: int, error: type[BaseException] | None = None) -> str:
    """Does a piece of work that leaves a file and ends in `error`; returns what was there before."""
    with ResumableWork.claim("run", {"what": what}) as work:
        assert work.folder is not None
        half = work.folder / "half"
        before = half.read_text() if half.exists() else ""
        half.write_text("done")
        if error is not None:
            raise error
    return before


def test_what_is_over_leaves_nothing_and_what_was_cut_off_is_found_again() -> None:
    assert _work(1) == ""
    assert not list(resumable_dir().iterdir())
    with pytest.raises(Killed):
        _work(1, Killed)
    assert _work(2) == "", "other work"
    assert _work(1) == "done"
    with pytest.raises(Killed):
        _work(1, Killed)
    with pytest.raises(ValueError):  # noqa: PT011
        _work(1, ValueError)
    assert not list(resumable_dir().iterdir()), "what fails begins anew"


def test_two_do_not_share_a_folder() -> None:
    with ResumableWork.claim("run", {}) as first:
        with ResumableWork.claim("run", {}) as second:
            assert second.folder is None
        assert first.folder is not None
        assert first.folder.is_dir(), "the second leaves it alone"


def test_what_nobody_came_back_to_goes() -> None:
    old = resumable_dir() / "run-old"
    old.mkdir()
    (old / "journal.jsonl").write_text("")
    assert old in resumable_dir().iterdir()
    long_ago = time.time() - (KEPT_DAYS + 1) * 24 * 3600
    for path in (old / "journal.jsonl", old):
        os.utime(path, (long_ago, long_ago))
    assert old not in resumable_dir().iterdir()


def test_without_a_place_the_work_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def full(name: str) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resumable_work, "state_dir", full)
    with ResumableWork.claim("run", {}) as work:
        assert work.folder is None
    assert "nothing is kept for a restart" in caplog.text


@pytest.fixture(scope="module")
def experiment(tiny_model: Callable[[str], TinyModel]) -> Experiment:
    return make_experiment(solvable_problem(tiny_model("gpt2"), "each"))


@pytest.fixture(scope="module")
def whole(experiment: Experiment) -> Callable[[str], RunRecord]:
    """A function from a method to the record of its run without an interruption, made once."""
    return cache(lambda method: run_one(experiment, spec_of(method)))


def spec_of(method: str) -> SearchSpec:
    return SearchSpec(method, 0.8, 1, QUICK[method]).complete()


def _comparable(record: RunRecord) -> RunRecord:
    return record.model_copy(update={"seconds": 0.0, "created": ""})


@pytest.mark.parametrize(("method", "at"), [("mask", 10), ("mask", 60), ("hard-concrete", 30), ("random", 5)])
def test_a_run_that_was_cut_off_goes_on_to_the_same_record(
    experiment: Experiment,
    whole: Callable[[str], RunRecord],
    method: str,
    at: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, expected = spec_of(method), whole(method)
    monkeypatch.setattr(resumable_work, "SAVE_EVERY", 0.0)
    seen: list[SearchProgress] = []

    def killed(search: Search, step: SearchProgress) -> None:
        seen.append(step)
        if len(seen) == at:
            raise Killed

    with pytest.raises(Killed):
        run_one(experiment, spec, killed)
    assert len(seen) == at < expected.steps
    (folder,) = resumable_dir().iterdir()
    stages = [step.stage for step in seen]
    again: list[SearchProgress] = []
    record = run_one(experiment, spec, lambda search, step: again.append(step))
    assert _comparable(record) == _comparable(expected)
    if stages[-1] == "optimise":
        assert len(again) == expected.steps - at, "the steps of an optimisation are not made again"
    assert not folder.exists()


def test_a_run_that_was_stopped_is_no_result_and_goes_on(
    experiment: Experiment, whole: Callable[[str], RunRecord]
) -> None:
    spec = spec_of("mask")
    seen: list[SearchProgress] = []

    def stop(search: Search, step: SearchProgress) -> None:
        seen.append(step)
        if len(seen) == 15:
            search.stop()

    assert run_one(experiment, spec, stop).stopped
    (folder,) = resumable_dir().iterdir()
    again = run_one(experiment, spec)
    assert not folder.exists()
    assert not again.stopped
    assert _comparable(again) == _comparable(whole("mask"))
