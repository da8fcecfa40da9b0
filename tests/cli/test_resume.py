"""Searches in real processes that are killed, ended by a signal or sent to the background, and resumed."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Outcome

from circuit_tui.core.jobs.autosave import Autosave
from circuit_tui.core.jobs.job import Job, all_jobs, new_job
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.tasks import builtin as tasks
from circuit_tui.tui.cli import main

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("killed_find.py")
QUICK = {
    "mask": ("--set", "steps=40", "--set", "batch=8", "--set", "refine=10", "--target", "0.8"),
    "published": ("--method", "published", "--set", "steps=60", "--set", "batch=8", "--target", "0.5"),
}


@pytest.fixture(scope="module")
def few() -> str:
    """A few prompts of a built-in task, so that a search on the demo takes a second or two."""
    rows = [
        {"clean": pair.clean, "corrupt": pair.corrupt, "answer": pair.answer, "wrong": pair.wrong, "split": split}
        for split, count in (("train", 24), ("test", 12))
        for pair in tasks.builtin("sva-simple").split(split)[:count]  # type: ignore[arg-type]
    ]
    return "\n".join(json.dumps(row) for row in rows)


@pytest.fixture
def prompts(tmp_path: Path, few: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The prompts as a file in the working directory: what is written of them is the same in every test.

    Other processes compute with as many threads as this one, and so what it would have found.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    Path("few.jsonl").write_text(few)
    return Path("few.jsonl")


@pytest.fixture(scope="module")
def whole(few: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """A function that returns the circuit file of an uninterrupted search by a method."""

    @functools.cache
    def find(method: str) -> Any:
        folder = tmp_path_factory.mktemp(method)
        (folder / "few.jsonl").write_text(few)
        with contextlib.chdir(folder):
            assert main(["find", "--prompts", "few.jsonl", *QUICK[method], "--out", "whole.json"]) == 0
        return circuit(folder / "whole.json")

    return find


def killed(stage: str, *args: object, patched: Path | None = None) -> tuple[int, str]:
    """Runs a command that kills itself in `stage`; returns at which step, and what it wrote on stderr.

    `patched` is a folder with a ``sitecustomize.py``.
    """
    command = [sys.executable, str(SCRIPT), stage, *map(str, args)]
    path = os.pathsep.join(filter(None, (patched and str(patched), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return int(done.stderr.rpartition("killed at step ")[2]), done.stderr


def circuit(path: Path) -> Any:
    """A circuit file without its date."""
    return json.loads(path.read_text()) | {"created": ""}


def assert_same(one: Any, other: Any, where: str = "$") -> None:
    """Equal but for the last digits of numbers: another process may lay out its memory otherwise."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same(left, right, f"{where}[{index}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=1e-5), where
    else:
        assert one == other, where


def test_kill_nine_then_resume_gives_the_same_file(
    cli: Any, prompts: Path, tmp_path: Path, whole: Callable[[str], Any]
) -> None:
    step, _ = killed("eliminate", "find", "--prompts", prompts, *QUICK["mask"], "--out", tmp_path / "cut.json")
    assert not (tmp_path / "cut.json").exists()
    (job,) = all_jobs()
    assert job.state == "unfinished"
    (row,) = cli("jobs", "--json").data["jobs"]
    assert (row["state"], row["step"]) == ("unfinished", step)
    assert row["what"].startswith("mask, few on")
    done = cli("resume")
    assert done.code == 0
    assert f"after step {step}" in done.err
    assert_same(circuit(tmp_path / "cut.json"), whole("mask"))
    assert not all_jobs(), "a search that ended leaves nothing"
    assert cli("resume").error == "no search was cut off"


NO_LOCKS = """
import errno, fcntl, os
def refuse(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
fcntl.flock = fcntl.lockf = refuse
"""


def test_a_search_that_was_killed_goes_on_where_the_file_system_has_no_locks(
    cli: Any, prompts: Path, tmp_path: Path, whole: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no_locks").mkdir()
    (tmp_path / "no_locks" / "sitecustomize.py").write_text(NO_LOCKS)
    args = ("find", "--prompts", prompts, *QUICK["mask"], "--out", tmp_path / "cut.json")
    step, said = killed("optimise", *args, patched=tmp_path / "no_locks")
    assert said.count("its file system has no locks") == 1

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    (row,) = cli("jobs", "--json").data["jobs"]
    assert (row["state"], row["step"]) == ("unfinished", step)
    done = cli("resume")
    assert done.code == 0, done.err
    assert_same(circuit(tmp_path / "cut.json"), whole("mask"))
    assert not all_jobs()


def test_it_is_written_where_resume_says_and_the_newest_comes_first(cli: Any, prompts: Path, tmp_path: Path) -> None:
    for seed in (1, 2):  # cut off before their first step
        request = OpenRequest(prompts=prompts, seed=seed)
        new_job("find", request, SearchSpec("random", 0.5, seed), None).release()
        time.sleep(0.05)
    assert cli("resume", "--out", tmp_path / "two.json").code == 0
    assert circuit(tmp_path / "two.json")["seed"] == 2
    assert cli("resume", "--out", tmp_path / "no" / "one.json").code == 2
    assert len(all_jobs()) == 1, "what could not be written can be tried again"
    assert cli("resume", "--out", tmp_path / "one.json").code == 0
    assert circuit(tmp_path / "one.json")["seed"] == 1


@pytest.fixture
def cut(cli: Any) -> Callable[..., Outcome]:
    """A function that runs a command, which a signal ends after some steps of its search."""

    def run(number: signal.Signals, step: int, *args: object) -> Outcome:
        real, taken = Autosave.step, list[Any]()

        def signalled(self: Autosave, report: Any) -> None:
            real(self, report)
            taken.append(report)
            if len(taken) == step:
                os.kill(os.getpid(), number)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Autosave, "step", signalled)
            done: Outcome = cli(*args)
        return done

    return run


@pytest.mark.parametrize(
    ("number", "code", "method"), [(signal.SIGTERM, 143, "mask"), (signal.SIGHUP, 129, "published")]
)
def test_a_signal_saves_and_says_how_to_go_on(
    cli: Any,
    cut: Callable[..., Outcome],
    prompts: Path,
    tmp_path: Path,
    whole: Callable[[str], Any],
    number: signal.Signals,
    code: int,
    method: str,
) -> None:
    done = cut(number, 20, "find", "--prompts", prompts, *QUICK[method], "--out", tmp_path / "c.json")
    assert done.code == code
    assert f"ended by {number.name}; `circuit-tui resume` continues it (log: " in done.error
    assert Path(done.error.rpartition("log: ")[2].rstrip(")")).is_file()
    (job,) = all_jobs()
    assert (job.search_folder / "loop-0.pt").is_file()
    assert cli("resume").code == 0
    assert_same(circuit(tmp_path / "c.json"), whole(method))


def wait(condition: Callable[[], Any], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_detached_search_leaves_its_circuit_in_its_job(cli: Any, prompts: Path, whole: Callable[[str], Any]) -> None:
    begun = cli("find", "--prompts", prompts, *QUICK["mask"], "--detach", "--json").data
    job = Job(Path(begun["folder"]))
    try:
        assert job.state in ("running", "done"), "it is never nobody's"
        wait(lambda: job.state != "running")
        assert job.state == "done", job.log.read_text()
    finally:
        job.stop()
    assert_same(circuit(job.circuit), whole("mask"))
    (row,) = cli("jobs", "--json").data["jobs"]
    assert (row["state"], row["method"]) == ("done", "mask")
    assert row["step"] > 0
    assert not job.search_folder.exists(), "checkpoints of what is done"
    assert cli("jobs", "--remove", job.name).code == 0
    assert cli("jobs").out.startswith("no search")


def test_a_detached_search_can_be_stopped_from_elsewhere(cli: Any, prompts: Path) -> None:
    args = ("--prompts", prompts, "--method", "published", "--set", "steps=100000", "--set", "batch=8")
    job = Job(Path(cli("find", *args, "--detach", "--json").data["folder"]))
    wait(job.progress)
    assert "it is running" in cli("jobs", "--remove", job.name).error
    assert "still running" in cli("resume").error
    assert cli("jobs", "--stop", job.name).code == 0
    wait(lambda: job.state != "running")
    assert job.state == "done"
    assert circuit(job.circuit)["size"] > 0


def test_a_detached_search_that_fails_says_why(cli: Any, prompts: Path) -> None:
    """By the command that its process runs."""
    swapped = [json.loads(line) for line in prompts.read_text().splitlines()]
    rows = [json.dumps(row | {"answer": row["wrong"], "wrong": row["answer"]}) for row in swapped]
    Path("wrong.jsonl").write_text("\n".join(rows))
    request = OpenRequest(prompts=Path("wrong.jsonl"))
    job = new_job("detached", request, SearchSpec("mask", 0.9, 0), None)
    job.release()
    assert cli("resume", "--job", job.name).code == 2
    assert job.state == "failed"
    assert "the model cannot do it" in job.error
    assert "the model cannot do it" in cli("jobs").out


def test_what_was_opened_must_still_be_there(cli: Any, cut: Callable[..., Outcome], prompts: Path) -> None:
    cut(signal.SIGTERM, 5, "find", "--prompts", prompts, *QUICK["published"])
    prompts.write_text("\n".join(prompts.read_text().splitlines()[:-1]))
    error = cli("resume").error
    assert "what it had opened has changed" in error
    assert "prompts_sha256" in error


def test_a_folder_that_cannot_be_written_does_not_end_the_search(
    cli: Any, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("circuit_tui.core.jobs.job.Job.add_progress", full)
    done = cli("find", "--prompts", prompts, *QUICK["published"], "--set", "steps=3")
    assert done.code in (0, 1)
    assert done.err.count("No space left on device") == 1


def test_unknown_job_names_are_refused(cli: Any) -> None:
    assert "no such job" in cli("resume", "--job", "x").error
    assert "no such job" in cli("jobs", "--stop", "x").error
    job = new_job("find", OpenRequest(), SearchSpec("mask", 0.9, 0), None)
    assert "still running" in cli("resume", "--job", job.name).error
    job.remove()


def test_a_checkpoint_that_cannot_be_continued_is_refused_and_kept(cli: Any, prompts: Path, tmp_path: Path) -> None:
    """The line names the command that starts the search anew."""
    request = OpenRequest(prompts=prompts, positions="shared")
    job = new_job("find", request, SearchSpec("published", 0.5, 3, {"steps": 5, "lambda": 0.2}), Path("out.json"))
    job.search_folder.mkdir()
    stored = job.search_folder / "loop-0.pt"
    torch.save({"step": 3, "state": {"mask": torch.ones(4)}}, stored)
    job.release()
    done = cli("resume")
    assert done.code == 2
    assert done.error == (
        f"{stored}: this version cannot continue the search stored there; start the search anew: circuit-tui find "
        "--prompts few.jsonl --positions shared --method published --target 0.5 --seed 3 --set steps=5 "
        f"--set lambda=0.2 --out {tmp_path / 'out.json'}"
    )
    assert torch.load(stored, weights_only=True)["step"] == 3
    assert [other.state for other in all_jobs()] == ["unfinished"]
