"""A job's folder: what the version before wrote into it opens, and what a reader is told of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from circuit_tui.core.jobs.job import Job, all_jobs, jobs_dir, unfinished
from circuit_tui.core.jobs.summary import job_summary

BEFORE = Path(__file__).with_name("version_before")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """The job of a search by the version before, killed while it wrote its fourth report."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    shutil.copytree(BEFORE, jobs_dir() / "20261127-213750-0b6f6f")
    (found,) = all_jobs()
    return found


def test_a_job_of_the_version_before_opens(job: Job) -> None:
    spec = job.spec
    assert spec.search is not None
    assert (spec.kind, spec.search.method, spec.search.target, spec.search.seed) == ("find", "mask", 0.8, 0)
    settings = spec.search.complete().settings
    assert {name: settings[name] for name in ("steps", "batch", "refine")} == {"steps": 40, "batch": 8, "refine": 10}
    assert spec.request.prompts == Path("few.jsonl")
    assert (spec.out, spec.folder) == (Path("/home/ada/work/cut.json"), Path("/home/ada/work"))
    assert spec.subject is not None
    assert spec.subject["candidates"] == 389
    assert [step.step for step in job.progress()] == [1, 2, 3], "half a line is none"
    assert (job.state, job.pid) == ("unfinished", 7976)


def test_it_is_offered_and_can_be_taken_up(job: Job) -> None:
    assert [one.name for one in unfinished(all_jobs())] == [job.name]
    assert job.claim()
    assert not Job(job.folder).claim()
    assert Job(job.folder).state == "running"
    job.release()
    job.finish("done")
    assert Job(job.folder).state == "done"
    assert not unfinished(all_jobs())


def test_what_is_told_of_it(job: Job) -> None:
    summary = job_summary(job)
    assert (summary.state, summary.method, summary.step, summary.steps) == ("unfinished", "mask", 3, 100)
    assert summary.what == "mask, few on circuit-tui/demo"
    assert summary.faithfulness == pytest.approx(1.00035, abs=1e-5)


def test_what_is_changed_keeps_the_names_of_the_fields(job: Job) -> None:
    before = json.loads((job.folder / "job.json").read_text())
    job.change(kind="detached")
    after = json.loads((job.folder / "job.json").read_text())
    assert (before["kind"], after["kind"]) == ("find", "detached")
    assert after.keys() == before.keys()
    assert after["request"].keys() >= before["request"].keys()
