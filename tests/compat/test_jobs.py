"""Jobs of version 0.1: searches that were killed go on to the same circuit, sessions come back, the others are told of.

The searches go on from what version 0.1 stored. Up to the kill their steps must be those that it told of then.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Cli

from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.errors import CheckpointError
from circuit_tui.core.jobs.autosave import Autosave
from circuit_tui.core.jobs.job import Job, all_jobs, unfinished
from circuit_tui.core.jobs.summary import job_summary
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.session.session import Session
from circuit_tui.core.views import SearchProgress
from circuit_tui.tui.engine.job_autosave import JobAutosave

STATES = (
    "find-optimise", "find-eliminate", "find-published", "find-hard-concrete", "find-nested", "detached-cut",
    "detached-done", "detached-seen", "detached-failed", "explore-session", "explore-search",
)  # fmt: skip
TO_THE_END = ("find-optimise", "find-eliminate", "find-nested")
ENDED_AGAIN = ("find-published", "find-hard-concrete", "detached-cut", "explore-search")
ENDED = ("detached-done", "detached-seen", "detached-failed")
COMMAND = (
    "circuit-tui find --prompts few.jsonl --method mask --target 0.8 --seed 0 --set steps=40 --set batch=8 "
    "--set refine=10"
)
"""Starts anew the search of the state ``find-eliminate``."""
LeftJob = Callable[[str], Job]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[SearchProgress]:
    """The steps that searches report from now on."""
    taken: list[SearchProgress] = []
    real = Autosave.step

    def step(self: Autosave, report: SearchProgress) -> None:
        taken.append(report)
        real(self, report)

    monkeypatch.setattr(Autosave, "step", step)
    return taken


def assert_goes_on(steps: list[SearchProgress], told: list[SearchProgress], known: Any) -> None:
    """The search began behind the step that was stored, and steps that had been told of before are the same again."""
    stored = known["loops"]["loop-0.pt"]
    assert steps[0].step == stored + 1
    again = {step.step: step for step in steps}
    compared = [step for step in told if step.step in again]
    assert [step.step for step in compared] == [step.step for step in told if step.step > stored] != []
    for step in compared:
        now = again[step.step]
        assert (now.stage, now.soft, now.loss) == (step.stage, approximately(step.soft), approximately(step.loss))


def approximately(value: float | None) -> Any:
    return None if value is None else pytest.approx(value, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("state", STATES)
def test_what_is_told_of_a_job(state: str, left_job: LeftJob, expected: Any) -> None:
    job = left_job(state)
    summary, known = asdict(job_summary(job)), expected["jobs"][state]
    assert {name: summary[name] for name in known["facts"]} == known["facts"]
    assert len(job.progress()) == known["progress_lines"]
    assert (job.spec.search and job.spec.search.data()) == known["order"]
    assert job.seen == (state == "detached-seen")


@pytest.mark.parametrize("state", TO_THE_END)
def test_a_search_goes_on_to_the_same_circuit(
    state: str, left_job: LeftJob, cli: Cli, steps: list[SearchProgress], expected: Any
) -> None:
    job, known = left_job(state), expected["jobs"][state]
    told = job.progress()
    out = job.spec.out
    done = cli("resume")
    assert done.code == known["resume"]["exit"] == 0, done.err
    assert f"continuing {job.name}: {known['order']['method']}" in done.err
    assert f"after step {known['facts']['step']}" in done.err
    assert_goes_on(steps, told, known)
    assert out is not None
    found, circuit = read_circuit(out), known["resume"]["circuit"]
    assert [list(node) for node in found.nodes()] == circuit["nodes"]
    assert found.metrics.test.faithfulness == pytest.approx(circuit["test"]["faithfulness"], abs=1e-4)
    assert dict(found.method.settings) == circuit["settings"]
    assert not all_jobs()


@pytest.mark.parametrize("state", ENDED_AGAIN)
def test_a_search_goes_on_and_can_be_ended_again(
    state: str,
    left_job: LeftJob,
    cli: Cli,
    steps: list[SearchProgress],
    monkeypatch: pytest.MonkeyPatch,
    expected: Any,
) -> None:
    """It is ended behind the last step that was told of, and nothing of it is lost."""
    job, known = left_job(state), expected["jobs"][state]
    told, watched = job.progress(), Autosave.step

    def step(self: Autosave, report: SearchProgress) -> None:
        watched(self, report)
        if report.step == told[-1].step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Autosave, "step", step)
    assert cli("resume").code == 128 + signal.SIGTERM
    assert_goes_on(steps, told, known)
    assert [one.name for one in unfinished(all_jobs())] == [job.name]
    assert (job.session is not None) == (state == "explore-search")


@pytest.mark.parametrize("state", [*ENDED, "explore-session"])
def test_what_was_not_cut_off_is_not_gone_on_with(state: str, left_job: LeftJob, cli: Cli, expected: Any) -> None:
    job, known = left_job(state), expected["jobs"][state]["resume"]
    assert cli("resume").error == known["says"].removeprefix("error: ")
    assert sorted(path.name for path in job.folder.iterdir()) == known["left"]


@pytest.mark.parametrize("state", ["detached-done", "detached-seen"])
def test_the_circuit_of_a_detached_search_is_there(state: str, left_job: LeftJob, files: Path) -> None:
    found = read_circuit(left_job(state).circuit)
    assert found.model_copy(update={"created": ""}) == read_circuit(files / "few.json").model_copy(
        update={"created": ""}
    )


@pytest.mark.parametrize("state", ["explore-session", "explore-search"])
def test_a_session_comes_back(state: str, left_job: LeftJob, sva_simple: Experiment, expected: Any) -> None:
    job, known = left_job(state), expected["jobs"][state]["session"]
    autosave = JobAutosave(job, pytest.fail)
    session = Session(sva_simple)
    stored, search = autosave.opened(session, OpenRequest(task="sva-simple"))
    assert (search is None) == (state == "explore-session")
    assert stored is not None
    session.restore(stored)

    def assert_is(size: int, faithfulness: float) -> None:
        assert session.view().size == size
        assert session.view().test.faithfulness == pytest.approx(faithfulness, abs=1e-4)

    view = session.view()
    assert_is(known["size"], known["test_faithfulness"])
    assert {name: getattr(view, name) for name in ("dirty", "can_undo", "can_redo")} == {
        name: known[name] for name in ("dirty", "can_undo", "can_redo")
    }
    assert view.last_change == known["change"]
    assert (session.provenance.method, session.circuit_file().method.edited) == (known["method"], known["edited"])
    assert set(view.snapshots) == set(known["snapshots"])
    for name, snapshot in known["snapshots"].items():
        compared = session.compare(name)
        assert compared.both + len(compared.only_snapshot) == snapshot["size"]
        assert compared.snapshot.faithfulness == pytest.approx(snapshot["test_faithfulness"], abs=1e-4)
    for step, size, faithfulness in known["walk"]:
        (session.undo if step == "undo" else session.redo)()
        assert_is(size, faithfulness)
    assert not session.view().can_undo


def rename(checkpoint: Path, path: tuple[str, ...], name: str) -> None:
    """Gives a part of a stored loop another name, as another version might have it."""
    stored = torch.load(checkpoint, weights_only=True)
    inner = stored["state"]
    for key in path[:-1]:
        inner = inner[key]
    inner[name] = inner.pop(path[-1])
    torch.save(stored, checkpoint)


@pytest.mark.parametrize("path", [("theta",), ("search", "best"), ("first_loss",)], ids=".".join)
def test_what_cannot_be_gone_on_with_is_refused_and_kept(
    path: tuple[str, ...], left_job: LeftJob, files: Path, cli: Cli
) -> None:
    job = left_job("find-eliminate")
    checkpoint = job.search_folder / "loop-0.pt"
    rename(checkpoint, path, "renamed")
    before = {file: file.read_bytes() for file in (checkpoint, job.search_folder / "journal.jsonl")}
    for _ in range(2):
        error = cli("resume").error
        assert f"{checkpoint}: this version cannot continue" in error
        assert error.endswith(f": {COMMAND} --out {job.spec.out}")
        assert {file: file.read_bytes() for file in before} == before
        assert [one.name for one in unfinished(all_jobs())] == [job.name]


def test_a_search_of_other_files_is_refused_and_kept(left_job: LeftJob, cli: Cli) -> None:
    job = left_job("find-eliminate")
    job.change(subject=(job.spec.subject or {}) | {"n_train": 7})
    error = cli("resume").error
    assert "has changed (n_train)" in error
    assert error.endswith(f": {COMMAND} --out {job.spec.out}")
    assert [one.name for one in unfinished(all_jobs())] == [job.name]


def test_a_session_of_other_files_is_refused_and_kept(left_job: LeftJob, sva_simple: Experiment) -> None:
    job = left_job("explore-session")
    assert job.claim()
    job.change(subject=(job.spec.subject or {}) | {"nodes_digest": "another"})
    autosave = JobAutosave(job, pytest.fail)
    with pytest.raises(CheckpointError, match=rf"nodes_digest.*`circuit-tui jobs --remove {job.name}` discards it"):
        autosave.opened(Session(sva_simple), OpenRequest(task="sva-simple"))
    assert autosave.job.name != job.name
    assert job.session is not None
    autosave.job.remove()


def test_reports_of_another_version_are_read(left_job: LeftJob) -> None:
    """What they have besides is left out; a report that lacks something ends them."""
    job = left_job("find-eliminate")
    told = job.progress()
    lines = (job.folder / "progress.jsonl").read_text().splitlines()
    more = [json.dumps(json.loads(line) | {"temperature": 1.5}) for line in lines]
    less = json.dumps({name: value for name, value in json.loads(lines[0]).items() if name != "stage"})
    (job.folder / "progress.jsonl").write_text("\n".join([*more, less, "[]", *more]) + "\n")
    assert job.progress() == told
    assert job_summary(job).step == told[-1].step
