"""`compare` on a tiny model, from flags to files; and `find` with a method that is one file and one line."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli
from tiny.models_with_saes import TinyModel
from tiny.sessions import write_prompts
from tiny.solvable_task import solvable_task

from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.outputs.output_file import claim_output
from circuit_tui.core.runs.comparison import read_comparison
from circuit_tui.core.search.method import SearchMethod
from circuit_tui.core.search.registry import METHODS, MethodInfo
from circuit_tui.core.search.search import Search
from circuit_tui.tui.cli import main

QUICK = ("--methods", "published:steps=20,random,atp", "--lambdas", "0.01,0.1", "--seeds", "2", "--targets", "0.6,0.8")


def test_from_flags_to_table_file_and_picture(cli: Cli, solvable_flags: list[str], tmp_path: Path) -> None:
    out, picture = tmp_path / "c.json", tmp_path / "p.svg"
    done = cli("compare", *solvable_flags, *QUICK, "--out", out, "--picture", picture)
    assert done.code == 0, done.err
    file = read_comparison(out)
    assert file.complete
    (task,) = file.tasks
    assert [(method.label, [seed.runs for seed in method.seeds]) for method in task.methods] == [
        ("published:steps=20", [2, 2]), ("random", [1, 1]), ("atp", [1])
    ]  # fmt: skip
    for text in ("able · ", "published:steps=20", "random", "atp", "n(0.95)", "area", "steps", "2+2"):
        assert text in done.out
    assert "able: run 1/7 · published:steps=20 · lambda 0.01 · seed 0" in done.err
    assert " left" in done.err
    assert picture.read_text().startswith("<?xml")


def test_json_is_the_file_and_earlier_runs_are_not_done_again(
    cli: Cli, solvable_flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "c.json"
    first = cli("compare", *solvable_flags, "--methods", "random,atp", "--seeds", "1", "--json", "--out", out)
    assert first.code == 0
    data, written = json.loads(first.out), json.loads(out.read_text())
    assert {**data, "created": ""} == {**written, "created": ""}
    begun: list[str] = []
    real = Search.__init__

    def counted(self: Search, *given: Any, **named: Any) -> None:
        real(self, *given, **named)
        begun.append(f"{self.spec.method} {self.spec.seed}")

    monkeypatch.setattr(Search, "__init__", counted)
    more = cli("compare", *solvable_flags, "--methods", "random,atp", "--seeds", "2", "--from", out, "--json")
    assert begun == ["random 1"]
    assert len(json.loads(more.out)["tasks"][0]["runs"]) == 3
    shown = cli("compare", "--from", out)
    assert (shown.code, begun) == (0, ["random 1"])
    assert "atp" in shown.out


def test_ctrl_c_keeps_what_is_finished(
    cli: Cli, solvable_flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, progress, calls = tmp_path / "c.json", SearchMethod.progress, list[str]()

    def interrupted(self: SearchMethod[Any], *args: Any, **kwargs: Any) -> Any:
        if self.spec.method == "random" and self.spec.seed == 1 and not calls:
            calls.append("now")
            os.kill(os.getpid(), signal.SIGINT)
        return progress(self, *args, **kwargs)

    monkeypatch.setattr(SearchMethod, "progress", interrupted)
    before = signal.getsignal(signal.SIGINT)
    done = cli("compare", *solvable_flags, "--methods", "atp,random", "--seeds", "3", "--out", out)
    assert done.code == 130
    assert "interrupted" in done.err
    file = read_comparison(out)
    assert not file.complete
    assert [(record.spec.method, record.spec.seed) for record in file.records] == [("atp", 0), ("random", 0)]
    assert "random" in done.out
    assert signal.getsignal(signal.SIGINT) is before


def test_a_method_that_refuses_is_named_and_the_answer_is_no(
    cli: Cli, tiny_model: Callable[[str], TinyModel], tmp_path: Path
) -> None:
    made = tiny_model("gpt2")
    prompts = write_prompts(solvable_task(made, (5, 6, 7, 6), (6, 7), turn=1), tmp_path / "uneven.jsonl")
    flags = ["--model", made.folder, "--prompts", prompts, "--errors", "keep", "--positions", "shared", "--seeds", "1"]
    for folder in made.sae_folders:
        flags += ["--sae-dir", folder]
    done = cli("compare", *flags, "--methods", "ig,random", "--targets", "0.5")
    assert done.code == 1
    assert "ig left out: --method ig: task uneven has pairs of unequal token length" in done.out
    assert "random" in done.out
    other = tmp_path / "unknown.jsonl"
    line = '{"clean": "xyzzy %d", "corrupt": "plugh %d", "answer": " xyzzy plugh", "wrong": " x"}\n'
    other.write_text("".join(line % (number, number) for number in range(6)))
    both = cli("compare", *flags, "--prompts", other, "--methods", "random", "--targets", "0.5")
    assert both.code == 1, "a task that cannot be opened is left out, the other is shown"
    assert "unknown: every method left out: " in both.out
    assert "random" in both.out
    alone = cli("compare", *flags, "--methods", "ig", "--targets", "0.5")
    assert alone.code == 2
    assert alone.err.splitlines()[-1].startswith("error: --method ig: task uneven")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--methods", "maks"), "--method maks: unknown method"),
        (("--methods", "ig,ig"), "--methods ig: named twice"),
        (("--seeds", "0"), "--seeds 0: must be a whole number, not below 1"),
        (("--seeds", "1.5,2"), "--seeds 1.5: must be a whole number, not below 0"),
        (("--seeds", "few"), "--seeds few: not a number"),
        (("--targets", "0.9,1"), "--targets 1: must lie between 0 and 1"),
        (("--lambdas", "-1"), "--lambdas -1: must not be negative"),
        (("--lambdas", ","), "--lambdas: give at least one number"),
        (("--sizes", "0"), "--sizes 0: must be a whole number, not below 1"),
        (("--sizes", "inf"), "--sizes inf: must be finite"),
        (("--task", "sva-cr"), "--task sva-cr: unknown; did you mean sva-rc?"),
        (("--task", "ioi", "--task", "nothing"), "--task nothing: unknown"),
        (("--picture", "p.gif"), "--picture p.gif: its name must end in one of"),
        (("--picture", "p.svg", "--out", "./p.svg"), "--out and --picture: both name p.svg"),
        (("--out", "/no/such/c.json"), "/no/such/c.json: there is no folder /no/such"),
        (("--from", "/no/such.json"), "/no/such.json: no such file"),
    ],
)
def test_bad_input_is_one_line(cli: Cli, args: tuple[str, ...], says: str) -> None:
    done = cli("compare", *args)
    assert done.code == 2
    assert done.out == ""
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {says}")


TOY = '''
"""Keeps the nodes of the largest latents."""
import torch
from circuit_tui.core.search.method_settings import MethodSettings
from circuit_tui.core.search.ranking import RankingMethod


class ToySettings(MethodSettings):
    sign: float = 1.0


class ToyMethod(RankingMethod):
    def score_nodes(self):
        yield 1.0
        return self.problem.space.latent.float() * self.settings.sign
'''


def test_a_method_is_one_file_and_one_line(
    cli: Cli, solvable_flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the file and the line, `find` and `compare` know the method: flags, settings, search, export."""
    (tmp_path / "largest.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(METHODS, "toy", MethodInfo("toy", "largest first", "largest:ToyMethod", "largest:ToySettings"))
    out = tmp_path / "toy.json"
    done = cli("find", *solvable_flags, "--method", "toy", "--target", "0.5", "--out", out)
    assert done.code == 0, done.err
    file = read_circuit(out)
    assert (file.method.name, file.method.settings) == ("toy", {"sign": 1.0})
    assert file.metrics.train.faithfulness >= 0.5
    kept = [latent for _, _, latent in file.nodes()]
    smallest = min(kept)
    assert 0 < len(kept) == len([latent for latent in kept if latent >= smallest])
    compared = cli("compare", *solvable_flags, "--methods", "toy,random", "--seeds", "1", "--targets", "0.5", "--json")
    methods = json.loads(compared.out)["tasks"][0]["methods"]
    assert [method["label"] for method in methods] == ["toy", "random"]
    needed = {point["size"] for point in methods[0]["seeds"][0]["points"]}
    assert len(kept) in needed


def test_the_same_command_goes_on_where_it_was_killed(
    cli: Cli, solvable_flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is killed in its third run: the finished two are not done again, and the third is not begun anew."""
    out, begun, steps = tmp_path / "c.json", list[str](), list[str]()
    args = ("compare", *solvable_flags, "--methods", "atp,random", "--seeds", "3", "--targets", "0.6")
    whole = cli(*args, "--json")
    real_init, real_progress = Search.__init__, SearchMethod.progress

    def counted(self: Search, *given: Any, **named: Any) -> None:
        real_init(self, *given, **named)
        begun.append(f"{self.spec.method} {self.spec.seed}")

    def killed(self: SearchMethod[Any], *rest: Any, **options: Any) -> Any:
        steps.append(f"{self.spec.method} {self.spec.seed}")
        if steps.count("random 1") == 4:
            raise SystemExit  # no `except Exception` sees it, and nothing of compare's own tidies up
        return real_progress(self, *rest, **options)

    monkeypatch.setattr(Search, "__init__", counted)
    monkeypatch.setattr(SearchMethod, "progress", killed)
    monkeypatch.setattr("circuit_tui.core.jobs.resumable_work.SAVE_EVERY", 0.0)
    with pytest.raises(SystemExit):
        main([str(arg) for arg in (*args, "--out", out)])
    assert [(record.spec.method, record.spec.seed) for record in read_comparison(out).records] == [
        ("atp", 0), ("random", 0)
    ]  # fmt: skip
    assert not read_comparison(out).complete
    (folder,) = (tmp_path / "state" / "circuit-tui" / "unfinished").iterdir()
    assert (folder / "search" / "journal.jsonl").read_bytes()
    monkeypatch.setattr(SearchMethod, "progress", real_progress)
    begun.clear()
    done = cli(*args, "--out", out, "--json")
    assert done.code == 0
    assert "continuing with its 2 runs" in done.err
    assert begun == ["random 1", "random 2"]
    assert not folder.exists()
    first, second = json.loads(whole.out), json.loads(done.out)
    assert second["complete"]
    assert [_plain(run) for run in second["tasks"][0]["runs"]] == [_plain(run) for run in first["tasks"][0]["runs"]]


def _plain(run: dict[str, Any]) -> dict[str, Any]:
    return {**run, "created": "", "seconds": 0.0}


def test_a_file_that_is_no_comparison_is_not_overwritten(cli: Cli, solvable_flags: list[str], tmp_path: Path) -> None:
    out = tmp_path / "notes.json"
    out.write_text('{"mine": 1}')
    done = cli("compare", *solvable_flags, "--methods", "random", "--seeds", "1", "--out", out)
    assert done.code == 2
    assert done.error == f"{out}: there is a file that circuit-tui did not write; --force replaces it"
    assert out.read_text() == '{"mine": 1}'
    out.write_text('{"schema": "circuit-tui/comparison/1"}')
    damaged = cli("compare", *solvable_flags, "--methods", "random", "--seeds", "1", "--out", out)
    assert damaged.code == 2
    assert "replace it with --force" in damaged.error
    forced = cli("compare", *solvable_flags, "--methods", "random", "--seeds", "1", "--out", out, "--force")
    assert forced.code == 0
    assert f"{out} will be replaced: it cannot be read" in forced.err
    assert read_comparison(out).complete


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_pictures_are_known_again(cli: Cli, solvable_flags: list[str], tmp_path: Path, suffix: str) -> None:
    out, picture = tmp_path / "c.json", tmp_path / f"p{suffix}"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n of someone else")
    args = ("compare", *solvable_flags, "--methods", "random", "--seeds", "1", "--out", out, "--picture", picture)
    assert "did not write" in cli(*args).error
    assert f"{picture} will be replaced: it is a file that circuit-tui did not write" in cli(*args, "--force").err
    again = cli("compare", "--from", out, "--picture", picture)
    assert again.code == 0
    assert f"{picture} will be replaced: it is a picture" in again.err


@pytest.mark.parametrize("flag", ["--out", "--picture"])
def test_the_second_run_on_one_file_is_told(cli: Cli, solvable_flags: list[str], tmp_path: Path, flag: str) -> None:
    out = tmp_path / "c.svg"
    lock = claim_output(out)
    done = cli("compare", *solvable_flags, "--methods", "random", flag, out)
    lock.release()
    assert done.code == 2
    assert done.error == f"{out}: another process ({os.getpid()}) is writing to it; wait for it, or name another file"
