"""`sweep` as a command: flags, exit codes, output, and one real sweep on the demo."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from circuit_example import example
from command_line import Cli
from fake_work import FakeWork

from circuit_tui.core.errors import UserError
from circuit_tui.core.runs import sweep
from circuit_tui.core.runs.results_file import read_records, read_rows
from circuit_tui.core.tasks.builtin import builtin
from circuit_tui.core.tasks.prompts_file import write_prompts
from circuit_tui.tui.commands import number_list
from circuit_tui.tui.commands import sweep_options as lists


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that need no model."""
    monkeypatch.setattr(sweep, "make_worker", FakeWork)


@pytest.mark.usefixtures("fake")
def test_a_grid_is_done_reported_and_not_done_again(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "r.sqlite"
    flags = ("--tasks", "sva-rc,pronoun", "--methods", "mask,random", "--targets", ".9,.95", "--seeds", "0-2")
    first = cli("sweep", *flags, "--jobs", 2, "--out", out, "--json")
    assert first.code == 0, first.err
    assert (first.data["runs"], first.data["found"], first.data["done"], first.data["failed"]) == (24, 0, 24, [])
    assert [(row["task"], row["method"], row["target"], row["runs"]) for row in first.data["summary"][:1]]
    groups = {(row["task"], row["method"], row["target"]): row for row in first.data["summary"]}
    assert len(groups) == 8
    row = groups["pronoun", "random", 0.95]
    assert (row["runs"], row["reached"], row["size"], row["test_faithfulness"]) == (3, 3, 2, 0.901)
    assert len(first.err.splitlines()) == 24 + 1
    assert "[24/24] " in first.err
    again = cli("sweep", *flags, "--out", out)
    assert again.code == 0
    assert f"{out}: 0 runs done, 24 done before, 0 failed" in again.err
    assert "3/3" in again.out
    assert "held-out f" in again.out
    more = cli("sweep", *flags[:-1], "0-3", "--out", out, "--json")
    assert (more.data["found"], more.data["done"]) == (24, 8)
    assert len(read_records(out)) == 32


@pytest.mark.usefixtures("fake")
def test_failures_are_reported_at_the_end_with_exit_code_1(cli: Cli, tmp_path: Path) -> None:
    done = cli("sweep", "--tasks", "ioi,sva-rc", "--out", tmp_path / "r.sqlite")
    assert done.code == 1
    assert "failed: ioi mask 0.95 seed 0: there is nothing to find" in done.err.splitlines()
    assert done.err.splitlines()[-1] == f"{tmp_path / 'r.sqlite'}: 1 runs done, 0 done before, 1 failed"
    assert "sva-rc" in done.out
    rows = {row["task"]: row["status"] for row in read_rows(tmp_path / "r.sqlite")}
    assert rows == {"ioi": "failed", "sva-rc": "done"}


@pytest.mark.usefixtures("fake")
def test_settings_that_differ_are_shown_with_the_method(cli: Cli, tmp_path: Path) -> None:
    done = cli("sweep", "--method", "published", "--set", "lambda=0.1,0.2", "--out", tmp_path / "r.sqlite")
    assert done.code == 0
    assert "published lambda=0.1" in done.out
    assert "published lambda=0.2" in done.out
    assert "steps=" not in done.out


@pytest.mark.usefixtures("fake")
def test_a_circuit_file_says_what_to_open(cli: Cli, tmp_path: Path) -> None:
    data = example()
    data["task"] |= {"source": {"kind": "builtin", "name": "pronoun", "path": None}}
    data["ablation"] |= {"kind": "zero", "errors": "keep"}
    path = tmp_path / "c.json"
    path.write_text(json.dumps(data))
    refused = cli("sweep", "--circuit", path, "--tasks", "ioi", "--out", tmp_path / "r.sqlite")
    assert refused.error.startswith("--task: leave it out with --circuit")
    done = cli("sweep", "--circuit", path, "--seeds", "2", "--out", tmp_path / "r.sqlite")
    assert done.code == 0, done.err
    rows = read_rows(tmp_path / "r.sqlite")
    assert [(row["task"], row["ablation"], row["errors"], row["seed"]) for row in rows] == [
        ("pronoun", "zero", "keep", 0),
        ("pronoun", "zero", "keep", 1),
    ]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "Missing option '--out'"),
        (("--out", "absent/r.sqlite"), "absent/r.sqlite: there is no folder absent"),
        (("--out", "r.sqlite", "--tasks", "sva-cr"), "--tasks sva-cr: unknown; did you mean sva-rc?"),
        (("--out", "r.sqlite", "--tasks", "sva-rc,"), "--tasks sva-rc,: a name is missing between the commas"),
        (("--out", "r.sqlite", "--methods", "maks"), "--method maks: unknown method"),
        (("--out", "r.sqlite", "--targets", "95"), "--target 95: must lie between 0 and 1"),
        (("--out", "r.sqlite", "--seeds", "4-0"), "--seeds 4-0: must ascend"),
        (("--out", "r.sqlite", "--sites", "L9"), "--sites L9: there is no SAE at such a site"),
        (("--out", "r.sqlite", "--set", "lambda"), "--set lambda: write [METHOD.]NAME=VALUE"),
        (("--out", "r.sqlite", "--model", "./mine"), "--model: name tasks for it"),
        (("--out", "r.sqlite", "--prompts", "absent.jsonl"), "absent.jsonl"),
        (("--out", "r.sqlite", "--jobs", "0"), "Invalid value for '--jobs'"),
        (("--out", "r.sqlite", "--device", "gpu"), "--device gpu: unknown"),
    ],
)
def test_bad_input(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = cli("sweep", *args)
    assert refused.code == 2
    assert words in refused.error
    assert not (tmp_path / "r.sqlite").exists()


def test_ray_that_is_not_installed_is_named(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    refused = cli("sweep", "--ray", "local", "--out", tmp_path / "r.sqlite")
    assert refused.code == 2
    assert refused.error == "--ray: Ray is not installed; pip install 'circuit-tui[ray]'"


def test_lists_of_seeds_sites_and_words() -> None:
    assert number_list.seeds("0-2,7,1,9") == (0, 1, 2, 7, 9)
    assert number_list.seeds("5-5") == (5,)
    assert number_list.seeds("2") == (0, 1)
    assert lists.sites(["all,L0+L1", "L0+L1"]) == ((), ("L0", "L1"))
    assert lists.sites(None) == ((),)
    assert lists.words("--methods", ["b,all"], ("a", "b")) == ("b", "a")
    assert lists.settings(["published.lambda=0.1, 1"]) == {"published.lambda": ("0.1", "1")}
    for wrong in ("", "1-", "-1", "a", "1--2", "0-10000", "3-1"):
        with pytest.raises(UserError, match="--seeds"):
            number_list.seeds(wrong)


SCRIPT = """
import sys
from dataclasses import replace
from fake_work import FakeWork
from circuit_tui.core.runs import sweep
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.tui.cli import main
if __name__ == "__main__":
    sweep.make_worker = FakeWork
    waiting = {"folder": sys.argv[1], "behave": "wait"}
    SearchSpec.complete = lambda spec: replace(spec, settings=waiting)
    sys.exit(main(["sweep", "--seeds", "0-3", "--jobs", "2", "--out", sys.argv[1] + "/r.sqlite"]))
"""


def test_ctrl_c_leaves_a_sane_file_and_shows_bars_before(examples_path: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    ours, theirs = pty.openpty()
    env = os.environ | {"PYTHONPATH": examples_path, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
    running = subprocess.Popen(command, env=env, stdout=theirs, stderr=theirs, stdin=theirs, start_new_session=True)
    os.close(theirs)
    seen = b""

    def read(seconds: float) -> bool:
        """Read what there is; returns whether there was anything."""
        nonlocal seen
        if not select.select([ours], [], [], seconds)[0]:
            return False
        try:
            seen += os.read(ours, 65536)
        except OSError:  # the other end is closed
            time.sleep(0.05)
            return False
        return True

    until = time.monotonic() + 150
    while b"0/4" not in seen or b"seed 1" not in seen:
        assert time.monotonic() < until, seen
        read(0.2)
    os.killpg(running.pid, signal.SIGINT)
    while running.poll() is None:
        assert time.monotonic() < until, seen
        read(0.2)
    while read(0.5):
        pass
    os.close(ours)
    assert running.returncode == 130
    assert b"interrupted: 0 of 4 runs are finished; the same command does the rest" in seen
    assert b"Traceback" not in seen
    assert read_rows(tmp_path / "r.sqlite") == []
    assert not (tmp_path / ".r.sqlite.circuit-tui.lock").exists()


@pytest.mark.slow
def test_a_real_sweep_of_the_demo(cli: Cli, tmp_path: Path) -> None:
    out, prompts = tmp_path / "r.sqlite", tmp_path / "few.jsonl"
    task = builtin("sva-rc")
    few = replace(task, pairs=(*task.split("train")[:32], *task.split("test")[:16]))
    prompts.write_text(write_prompts(few))
    flags = ("--prompts", prompts, "--method", "random", "--seeds", "0-1", "--sites", "L1", "--target", "0.9")
    done = cli("sweep", *flags, "--jobs", 1, "--out", out, "--json")
    assert done.code == 0, done.err
    records = read_records(out)
    assert [record.spec.seed for record in records] == [0, 1]
    assert all(record.reached and record.test.faithfulness > 0.8 for record in records)
    assert {site.hook for record in records for site in record.subject.sites} == {"blocks.1.hook_resid_post"}
    assert records[0].nodes != records[1].nodes
    compared = cli("compare", "--from", out, "--json")
    assert compared.code == 0, compared.err
    (compared_task,) = compared.data["tasks"]
    assert [(part["label"], len(part["seeds"])) for part in compared_task["methods"]] == [("random", 2)]
