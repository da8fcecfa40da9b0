"""Audits and runs that version 0.1 left unfinished: the same command goes on with them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Cli

from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.errors import CheckpointError
from circuit_tui.core.jobs.resumable_work import resumable_dir
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.runs.results_file import read_rows
from circuit_tui.core.runs.run_one import run_one
from circuit_tui.core.runtime.file_lock import FileLock
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import SearchProgress

LeftWork = Callable[[str], Path]
COMPARE = ("compare", "--prompts", "few.jsonl", "--methods", "atp,mask", "--seeds", "1", "--targets", "0.95")
SPEC = SearchSpec("mask", 0.95, 0).complete()
"""The search that a sweep and a comparison were killed in."""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[SearchProgress]:
    """The steps that searches make from now on."""
    taken: list[SearchProgress] = []
    real = Search.__next__

    def step(self: Search) -> SearchProgress:
        taken.append(real(self))
        return taken[-1]

    monkeypatch.setattr(Search, "__next__", step)
    return taken


def stored(expected: Any, state: str, search: str = "search") -> int:
    """The step before which version 0.1 had stored a search."""
    found: int = expected["unfinished"][state]["searches"][search]["loops"]["loop-0.pt"]
    return found


def test_a_sweep_goes_on_in_the_run_it_was_killed_in(
    left_work: LeftWork, sweep_here: None, cli: Cli, steps: list[SearchProgress], expected: Any
) -> None:
    left_work("sweep-cut")
    known = expected["unfinished"]["sweep-cut"]["goes_on"]
    done = cli("sweep", "--tasks", "sva-simple", "--methods", "atp,mask", "--out", "cut.sqlite", "--json")
    assert done.code == known["exit"]
    assert {name: done.data[name] for name in ("runs", "found", "done", "failed")} == {
        name: known[name] for name in ("runs", "found", "done", "failed")
    }
    assert steps[0].step == stored(expected, "sweep-cut") + 1
    for row, wanted in zip(read_rows(Path("cut.sqlite")), known["rows"], strict=True):
        assert {name: row[name] for name in ("id", "opening", "status", "size")} == {
            name: wanted[name] for name in ("id", "opening", "status", "size")
        }
        assert row["steps"] <= wanted["steps"], "a mask that has settled ends its optimisation earlier than in 0.1"
        assert row["test_faithfulness"] == pytest.approx(wanted["test_faithfulness"], abs=1e-4)
    assert not list(resumable_dir().iterdir())


def test_a_comparison_goes_on_in_the_run_it_was_killed_in(
    left_work: LeftWork, cli: Cli, steps: list[SearchProgress], monkeypatch: pytest.MonkeyPatch, expected: Any
) -> None:
    """It is ended again after some steps, and is still there."""
    left_work("compare-cut")
    ended = stored(expected, "compare-cut") + 5
    real = Search.__next__

    def step(self: Search) -> SearchProgress:
        if steps and steps[-1].step == ended:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(Search, "__next__", step)
    done = cli(*COMPARE, "--out", "cut.json")
    assert done.code == 130
    assert "cut.json: continuing with its 1 runs" in done.err
    assert [step.step for step in steps] == list(range(ended - 4, ended + 1))
    (folder,) = resumable_dir().iterdir()
    assert int(torch.load(folder / "search" / "loop-0.pt", weights_only=True)["step"]) == ended


def test_an_audit_goes_on_with_its_lines_and_searches(
    left_work: LeftWork, cli: Cli, steps: list[SearchProgress], expected: Any
) -> None:
    left_work("audit-cut")
    known = expected["unfinished"]["audit-cut"]
    done = cli("audit", "few.json", "--seeds", 2, "--resamplings", 1, "--shuffles", 0, "--jobs", 1, "--out", "out.json")
    assert done.code == known["goes_on"]["exit"]
    assert f"continuing an audit that was cut off: {len(known['findings'])} lines are measured" in done.err
    assert steps[0].step > stored(expected, "audit-cut", "seeds-2-2")
    audit, wanted = read_circuit(Path("out.json")).audit, known["goes_on"]["audit"]
    assert audit is not None
    assert audit.finished
    assert audit.outcome == wanted["outcome"]
    verdicts = {finding.key: finding.verdict for finding in audit.findings}
    assert verdicts == wanted["verdicts"] | {"dictionaries": "not measured"}, "a line that version 0.1 does not have"
    assert [(run.kind, run.seed, run.size) for run in audit.runs] == [
        (run["kind"], run["seed"], run["size"]) for run in wanted["runs"]
    ]
    assert not list(resumable_dir().iterdir())


def test_a_run_that_cannot_be_gone_on_with_is_refused_and_kept(
    left_work: LeftWork, few: Experiment, expected: Any
) -> None:
    checkpoint = left_work("compare-cut") / "search" / "loop-0.pt"
    data = torch.load(checkpoint, weights_only=True)
    data["state"]["renamed"] = data["state"].pop("theta")
    torch.save(data, checkpoint)
    for _ in range(2):
        with pytest.raises(CheckpointError) as refused:
            run_one(few, SPEC)
        (folder,) = resumable_dir().iterdir()
        assert str(refused.value).endswith(f"anew: rm -r {folder / 'search'}, then the same command")
        assert torch.load(folder / "search" / "loop-0.pt", weights_only=True)["state"].keys() == data["state"].keys()
    shutil.rmtree(folder / "search")
    with pytest.raises(Begun):
        run_one(few, SPEC, begins_anew)


def test_a_run_that_version_0_1_is_still_at_is_left_to_it(left_work: LeftWork, few: Experiment) -> None:
    folder = left_work("compare-cut")
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    at_work = FileLock(folder / "lock")
    assert at_work.claim()
    try:
        with pytest.raises(Begun):
            run_one(few, SPEC, begins_anew)
    finally:
        at_work.release()
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before != {}


class Begun(Exception):
    """A search has made its first step."""


def begins_anew(search: Search, step: SearchProgress) -> None:
    assert step.step == 1
    raise Begun
