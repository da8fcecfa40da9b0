"""`audit` on the bundled demo: measuring, writing into the file, checking, forgeries, interruption, refusals."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from circuit_example import example

from circuit_tui.core.audit.lines import LINES
from circuit_tui.core.audit.run import Audit
from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.outputs.output_file import claim_output
from circuit_tui.core.tasks.builtin import builtin
from circuit_tui.tui.cli import main
from circuit_tui.tui.commands import progress

pytestmark = pytest.mark.slow
LITTLE = ("--random", 20, "--pairs", 2, "--shuffles", 0, "--resamplings", 0)
ALONE = ("--jobs", 1)


@pytest.fixture(scope="module", autouse=True)
def short_text() -> Iterator[None]:
    """Audits read a little of the bundled text, here and in `killed_audit.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("circuit_tui.core.audit.measures.splice_cost.MAX_TOKENS", 1024)
        yield


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A circuit for some prompts of `sva-simple`, found by a method without a seed."""
    folder = tmp_path_factory.mktemp("audited")
    keys, task = ("clean", "corrupt", "answer", "wrong", "split", "roles"), builtin("sva-simple")
    pairs = (*task.split("train")[:48], *task.split("test")[:24])
    prompts, path = folder / "few.jsonl", folder / "circuit.json"
    prompts.write_text("".join(json.dumps({key: getattr(pair, key) for key in keys}) + "\n" for pair in pairs))
    given = ["--prompts", str(prompts), "--method", "ig", "--target", "0.9", "--set", "steps=2"]
    assert main(["find", *given, "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def audited(found: Path) -> Path:
    path = found.with_name("audited.json")
    assert main(["audit", str(found), "--seeds", "2", *map(str, (*LITTLE, *ALONE)), "--out", str(path)]) == 0
    return path


def test_the_audit_goes_into_the_file(found: Path, audited: Path) -> None:
    before, after = json.loads(found.read_text()), json.loads(audited.read_text())
    audit = after.pop("audit")
    assert before == after, "nothing else is changed"
    assert read_circuit(audited).audit is not None
    verdicts = {finding["key"]: finding["verdict"] for finding in audit["findings"]}
    assert verdicts["task"] == verdicts["answers"] == verdicts["splice-text"] == verdicts["seeds"] == "good"
    assert verdicts["unseen"] == verdicts["shuffled"] == verdicts["resamplings"] == "not measured"
    assert audit["outcome"] == "believable within limits"
    assert audit["text"]["path"] == "circuit-tui/demo"
    assert [run["seed"] for run in audit["runs"]] == [1, 2]
    assert {node["share"] for node in audit["shares"]} == {1.0}


def test_it_passes_the_check_with_its_searches(cli: Any, audited: Path) -> None:
    done = cli("check", audited, "--searches", "--json")
    assert done.code == 0, [row for row in done.data["fields"] if not row["ok"]]
    fields = {row["field"] for row in done.data["fields"]}
    assert {"audit.outcome", "audit.text.sha256", "audit.held-out.low", "audit.runs[1].size"} <= fields
    assert any(field.startswith("audit.shares.nodes[") for field in fields)


def _forged(audited: Path, change: Callable[[Any], None]) -> Path:
    data = json.loads(audited.read_text())
    change(data["audit"])
    path = audited.with_name("forged.json")
    path.write_text(json.dumps(data))
    return path


def test_forged_numbers_and_verdicts_are_caught(cli: Any, audited: Path) -> None:
    def change(audit: Any) -> None:
        lines = {finding["key"]: finding for finding in audit["findings"]}
        lines["held-out"]["numbers"]["low"] += 0.01
        lines["random"]["numbers"]["chance"] = None
        lines["ablation"]["verdict"] = "bad"
        audit["text"]["sha256"] = "0" * 64
        audit["outcome"] = "believable"
        audit["settings"]["resamplings"] = 1  # one alone is not made, so its line is measured again

    done = cli("check", _forged(audited, change))
    assert done.code == 1
    wrong = {line.split()[0] for line in done.out.splitlines() if line.endswith("DIFFERS")}
    expected = {"held-out.low", "random.chance", "ablation.verdict", "text.sha256", "outcome"}
    assert wrong == {f"audit.{field}" for field in expected}
    assert "not measured again without --searches: other seeds" in done.out.splitlines()


@pytest.fixture
def few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audits have three lines: one that a circuit of a few nodes passes, one that it fails, and one that searches."""
    lines = tuple(line for line in LINES if line.key in ("task", "held-out", "seeds"))
    monkeypatch.setattr("circuit_tui.core.audit.open_audit.Audit", partial(Audit, lines=lines))


@pytest.mark.usefixtures("few_lines")
def test_a_quick_audit_does_not_replace_a_full_one_unasked(cli: Any, audited: Path, tmp_path: Path) -> None:
    """Of a circuit of a few nodes, whose audit has a few lines."""

    def measured_as(*, quick: bool) -> Path:
        data = json.loads(audited.read_text())
        for site in data["sites"]:
            site["nodes"] = site["nodes"][:1]
        data["size"] = sum(len(site["nodes"]) for site in data["sites"])
        assert data["audit"]["settings"]["quick"]
        data["audit"]["settings"]["quick"] = quick
        path = audited.with_name("again.json")
        path.write_text(json.dumps(data))
        return path

    few = ("--no-searches", *LITTLE, *ALONE)
    path = measured_as(quick=False)
    searched = cli("audit", path, "--seeds", "2", *LITTLE, *ALONE, "--out", tmp_path / "searched.json")
    assert "its searches were quick ones" in searched.err
    before = path.read_text()
    done = cli("audit", path, *few)
    assert done.code == 2
    assert f"{path}: has a full audit" in done.error
    assert path.read_text() == before
    assert cli("audit", path, *few, "--out", tmp_path / "beside.json").code == 1
    assert "haste" not in cli("audit", path, *few, "--full").err
    assert json.loads(path.read_text())["audit"]["settings"]["quick"] is False
    assert cli("audit", measured_as(quick=True), *few).code == 1


def test_an_arbitrary_circuit_is_not_believed(cli: Any, found: Path) -> None:
    """The circuit with one added to every latent's index: as many nodes at each site, all of them arbitrary."""
    data = json.loads(found.read_text())
    for site in data["sites"]:
        for node in site["nodes"]:
            node["latent"] = (node["latent"] + 1) % site["sae"]["d_sae"]
    path = found.with_name("chance.json")
    path.write_text(json.dumps(data))
    done = cli("audit", path, "--no-searches", *LITTLE, "--text", _text(found))
    assert done.code == 1
    last = done.out.splitlines()[-1]
    assert last.startswith("do not believe: ")
    assert "held-out prompts" in last
    assert "completeness" in last
    audit = read_circuit(path).audit
    assert audit is not None
    assert audit.text is not None
    assert audit.text.path.endswith("words.txt")


def _text(found: Path) -> Path:
    path = found.with_name("words.txt")
    path.write_text("The old doctor runs .\n")
    return path


def test_an_interrupt_keeps_what_is_done(cli: Any, found: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = found.with_name("interrupted.json")

    def show(self: progress.AuditBar, step: Any) -> None:
        if step.done == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(progress.AuditBar, "show", show)
    done = cli("audit", found, "--jobs", 2, "--out", out, "--json")
    assert done.code == 130
    assert "searches run in 2 other processes" in done.err
    assert not multiprocessing.active_children()
    assert "interrupted" in done.err
    assert [finding["key"] for finding in done.data["findings"]][-1] == "answers"
    assert done.data["outcome"] == "not finished"
    audit = read_circuit(out).audit
    assert audit is not None
    assert not audit.finished


def test_bad_input_is_one_line(cli: Any, found: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.json"
    data = example()
    for site in data["sites"]:
        site["nodes"] = []
    empty.write_text(json.dumps(data | {"size": 0}))
    for args, words in (
        ((empty,), "its circuit has no nodes"),
        ((tmp_path / "gone.json",), "no such file"),
        ((found, "--text", tmp_path / "gone.txt"), "--text"),
        ((found, "--out", tmp_path / "gone" / "c.json"), "there is no folder"),
        ((found, "--out", "/proc/c.json"), "/proc/c.json: cannot write: the folder /proc takes no files"),
        ((found, "--out", __file__), "there is a file that circuit-tui did not write; --force replaces it"),
        ((found, "--seeds", "-1"), "Invalid value for '--seeds'"),
        ((found, "--jobs", "0"), "Invalid value for '--jobs'"),
    ):
        done = cli("audit", *args)
        assert done.code == 2
        assert words in done.error


def test_a_second_audit_of_one_file_is_told(cli: Any, found: Path, tmp_path: Path) -> None:
    lock = claim_output(found)
    done = cli("audit", found)
    lock.release()
    assert done.code == 2
    assert done.error.startswith(f"{found}: another process ({os.getpid()}) is writing to it")


@pytest.mark.usefixtures("few_lines")
@pytest.mark.parametrize("meanwhile", ["another circuit", "my notes"])
def test_an_audit_does_not_replace_what_came_meanwhile(
    cli: Any, found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    path, text = tmp_path / "c.json", found.read_text()
    path.write_text(text)
    (tmp_path / "few.jsonl").write_text((found.parent / "few.jsonl").read_text())
    if meanwhile == "another circuit":
        meanwhile = text.replace('"edited": false', '"edited": true')
        assert meanwhile != text
    (tmp_path / "c.audited.json").write_text("a file of that name")
    show = progress.AuditBar.show

    def change(self: progress.AuditBar, step: Any) -> None:
        path.write_text(meanwhile)
        show(self, step)

    monkeypatch.setattr(progress.AuditBar, "show", change)
    done = cli("audit", path, "--no-searches", "--random", 2, "--pairs", 1)
    assert done.code in (0, 1)
    assert f"{path}: another program has changed it since the audit began" in done.err
    assert path.read_text() == meanwhile
    assert (tmp_path / "c.audited.json").read_text() == "a file of that name"
    audit = read_circuit(tmp_path / "c.audited-2.json").audit
    assert audit is not None
    assert audit.finished


def test_the_same_command_goes_on_after_a_kill(
    cli: Any, found: Path, audited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill during its parallel searches, nothing is measured twice, and the file is the same."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    few, cut = ("--seeds", 2, *LITTLE), tmp_path / "cut.json"
    script = Path(__file__).with_name("killed_audit.py")
    given = ("audit", found, *few, "--jobs", 2, "--out", cut)
    command = [sys.executable, str(script), "minimality", *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert "searches run in 2 other processes" in done.stderr
    assert not cut.exists()
    again = cli("audit", found, *few, *ALONE, "--out", cut)
    assert again.code == 0
    assert "continuing an audit that was cut off: 14 lines are measured" in again.err
    one, other = (json.loads(path.read_text())["audit"] for path in (audited, cut))
    assert_close(one | {"created": "", "seconds": 0}, other | {"created": "", "seconds": 0})


def assert_close(one: Any, other: Any) -> None:
    """Equal but for the last digits of numbers: another process may lay out its memory otherwise."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_close(one[key], other[key])
    elif isinstance(one, list):
        for left, right in zip(one, other, strict=True):
            assert_close(left, right)
    else:
        assert one == (pytest.approx(other, abs=1e-5) if isinstance(one, float) else other)
