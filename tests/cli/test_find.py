"""`find` on a fake session: exit codes, output, interruption."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from circuit_example import example
from command_line import Cli

from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.outputs.output_file import claim_output
from circuit_tui.core.runtime.user_log import user_log
from circuit_tui.core.saes.sae_filter import SiteFlags
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import LoadProgress, Metrics, SearchProgress, SearchResult

METRICS = Metrics(0.96, 0.98, 3.5, 0.1, 1.0, 0.5, (-0.1, 0.1))
RESULT = SearchResult(
    method="mask",
    settings={},
    seed=0,
    target=0.95,
    nodes=frozenset({0}),
    train=METRICS,
    test=METRICS,
    frontier=(),
    reached=True,
    stopped=False,
    steps=4,
    seconds=1.0,
)


class FakeSearch:
    """A search of four steps. `at_step` may do anything; `stop` ends the search as it would a real one."""

    def __init__(self, result: SearchResult, at_step: Callable[[int], None], *, deaf: bool = False) -> None:
        self.result: SearchResult | None = None
        self._ending, self._at_step, self._deaf, self._stopped = result, at_step, deaf, False

    def stop(self) -> None:
        self._stopped = True

    def keep(self, folder: Path) -> None:
        assert folder.is_dir()

    def save(self) -> None:
        pass

    def __iter__(self) -> Iterator[SearchProgress]:
        for step in range(4):
            self._at_step(step)
            if self._stopped and not self._deaf:
                break
            yield SearchProgress("mask", "optimise", step, 4, 0.5, 0.9, None, 40 - step, (40 - step,), 0.1, 2.0)
        self.result = replace(self._ending, stopped=self._stopped)


class FakeSession:
    """What `find` needs of a session; it records what it was asked."""

    info = SimpleNamespace(warnings=("The splice alone moves faithfulness to 0.850.",))

    def __init__(self) -> None:
        self.request = OpenRequest()
        self.running = FakeSearch(RESULT, lambda step: None)
        self.asked: SearchSpec | None = None
        self.adopted: SearchResult | None = None
        self.worked = 0

    def splice_offers(self, target: float) -> tuple[str, ...]:
        return (f"Or search for {target:g} of what the SAEs leave.",)

    def search(self, spec: SearchSpec) -> FakeSearch:
        self.asked = spec
        return self.running

    def fingerprint(self) -> dict[str, Any]:
        return {"task": "fake"}

    def adopt(self, result: SearchResult) -> None:
        self.adopted = result

    def work(self) -> bool:
        self.worked += 1
        return self.worked < 3

    def circuit_file(self) -> CircuitFile:
        return CircuitFile.model_validate_json(json.dumps(example()))


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    """Replaces the real session; the circuit that it finds is the example file."""
    fake = FakeSession()

    def opened(request: OpenRequest, progress: Callable[[LoadProgress], None]) -> FakeSession:
        fake.request = request
        progress(LoadProgress("loading SAEs", 1, 7))
        print("a library greets the world")
        return fake

    monkeypatch.setattr("circuit_tui.core.session.session.open_session", opened)
    return fake


def test_the_circuit_is_printed_and_nothing_else(cli: Any, session: FakeSession) -> None:
    done = cli("find")
    assert done.code == 0
    assert session.request == OpenRequest()
    assert session.adopted == session.running.result
    assert session.worked == 3, "every number is computed"
    for text in ("blocks.0.hook_resid_post", "subject", "0.250", "train (128)", "test (128)", "M_s", "2 nodes"):
        assert text in done.out
    assert "warning: Train and test part by 0.04." in done.out
    assert "greets" not in done.out
    assert "[2/7] loading SAEs" in done.err
    assert "optimise 0/4 · faithfulness 0.900 · 40 nodes · 2.0 s left" in done.err
    assert "warning: The splice alone" in done.err


@pytest.mark.parametrize("reached", [True, False])
def test_a_reader_that_has_gone_away_does_not_change_the_answer(
    cli: Any, session: FakeSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reached: bool
) -> None:
    session.running = FakeSearch(replace(RESULT, reached=reached), lambda step: None)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        done = cli("find", "--out", tmp_path / "c.json")
    assert done.code == (0 if reached else 1)
    assert "error" not in done.err
    assert read_circuit(tmp_path / "c.json").data() == example()


def test_json_is_the_circuit_file(cli: Any, session: FakeSession, tmp_path: Path) -> None:
    done = cli("find", "--json", "--out", tmp_path / "c.json")
    assert done.code == 0
    assert done.data == example()
    assert read_circuit(tmp_path / "c.json").data() == example()


def test_a_file_of_someone_else_is_replaced_by_force_alone(cli: Any, session: FakeSession, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    done = cli("find", "--out", path)
    assert (done.code, done.out) == (2, "")
    assert done.error == f"{path}: there is a file that circuit-tui did not write; --force replaces it"
    assert session.asked is None, "said before the work"
    assert path.read_text() == "mine"
    assert cli("find", "--out", path, "--force").code == 0
    assert read_circuit(path).data() == example()


def test_a_file_of_ours_is_replaced_and_a_line_says_so(cli: Any, session: FakeSession, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    assert "replaced" not in cli("find", "--out", path).err
    assert f"{path} will be replaced: it is a circuit file" in cli("find", "--out", path).err
    masks = tmp_path / "c.masks.json"
    masks.touch()
    first = cli("find", "--out", masks).err
    assert "replaced" not in first, "an empty file is none"
    assert f"{masks}: published masks hold the latents of each hook" in first
    assert f"{masks} will be replaced: it is a mask file" in cli("find", "--out", masks).err


def test_a_file_that_comes_during_the_search_is_not_lost(cli: Any, session: FakeSession, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    session.running = FakeSearch(RESULT, lambda step: path.write_text("mine"))
    done = cli("find", "--out", path)
    assert done.code == 2
    assert path.read_text() == "mine"
    state = cli("jobs", "--json").data
    assert [job["state"] for job in state["jobs"]] == ["unfinished"], "the search can be resumed with another --out"


def test_the_second_search_on_one_file_is_told(cli: Any, session: FakeSession, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    told: list[str] = []

    def second(step: int) -> None:
        if not told:
            told.append("")
            with pytest.raises(UserError, match=r"c\.json: another process .* is writing to it"):
                claim_output(path)

    session.running = FakeSearch(RESULT, second)
    assert cli("find", "--out", path).code == 0
    assert told
    lock = claim_output(path)
    for args in ((), ("--detach",)):
        done = cli("find", "--out", path, *args)
        assert done.code == 2
        assert "is writing to it; wait for it, or name another file" in done.error
    lock.release()
    assert [each.name for each in tmp_path.iterdir() if each.name != "state"] == ["c.json"]


def test_without_locks_the_search_goes_on(
    cli: Any, session: FakeSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("circuit_tui.core.outputs.output_file.claim_output", refuse)
    assert cli("find", "--out", tmp_path / "c.json").code == 0


def test_flags_reach_the_session(cli: Any, session: FakeSession, tmp_path: Path) -> None:
    done = cli(
        *("find", "--model", "gpt2", "--sae", "gpt2-small-res-jb:blocks.7.hook_resid_pre", "--sae-dir", tmp_path),
        *("--task", "ioi", "--positions", "shared", "--ablation", "zero", "--errors", "keep", "--device", "cuda:1"),
        *("--dtype", "bfloat16", "--batch", 8, "--seed", 5, "--method", "published", "--target", 0.8),
        *("--set", "lambda=0.1", "--set", "steps=20"),
        *("--layers", "3-5", "--width", "16k", "--l0", "60", "--chat"),
    )
    assert done.code == 0
    assert session.request == OpenRequest(
        model="gpt2",
        saes=("gpt2-small-res-jb:blocks.7.hook_resid_pre",),
        site_flags=SiteFlags("3-5", None, "16k", "60"),
        chat=True,
        sae_dirs=(tmp_path,),
        task="ioi",
        positions="shared",
        ablation="zero",
        errors="keep",
        device="cuda:1",
        dtype="bfloat16",
        batch=8,
        seed=5,
    )
    assert session.asked == SearchSpec("published", 0.8, 5, {"lambda": 0.1, "steps": 20}).complete()


def test_a_target_missed_is_one_and_the_file_is_still_written(cli: Any, session: FakeSession, tmp_path: Path) -> None:
    session.running = FakeSearch(replace(RESULT, reached=False), lambda step: None)
    assert cli("find", "--out", tmp_path / "c.json").code == 1
    assert (tmp_path / "c.json").is_file()


def test_ctrl_c_keeps_what_was_found(cli: Any, session: FakeSession, tmp_path: Path) -> None:
    session.running = FakeSearch(RESULT, lambda step: os.kill(os.getpid(), signal.SIGINT) if step == 2 else None)
    before = signal.getsignal(signal.SIGINT)
    done = cli("find", "--out", tmp_path / "c.json")
    assert done.code == 130
    assert "interrupted" in done.err
    assert session.adopted is not None
    assert session.worked == 0, "what can wait is left out"
    assert (tmp_path / "c.json").is_file()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_leaves_at_once(cli: Any, session: FakeSession, tmp_path: Path) -> None:
    session.running = FakeSearch(RESULT, lambda step: os.kill(os.getpid(), signal.SIGINT), deaf=True)
    done = cli("find", "--out", tmp_path / "c.json")
    assert (done.code, done.error) == (130, "interrupted")
    assert not (tmp_path / "c.json").exists()


def _fail(error: Exception) -> Callable[[int], None]:
    def raise_it(step: int) -> None:
        raise error

    return raise_it


def test_what_the_session_refuses_is_two(cli: Any, session: FakeSession) -> None:
    session.running = FakeSearch(RESULT, _fail(UserError("the model cannot\n  do it")))
    done = cli("find")
    assert (done.code, done.error, done.out) == (2, "the model cannot do it", "")


def test_a_fault_of_the_program_is_seventy_with_a_log(cli: Any, session: FakeSession) -> None:
    session.running = FakeSearch(RESULT, _fail(ZeroDivisionError("oh")))
    done = cli("find")
    assert done.code == 70
    assert "unexpected ZeroDivisionError: oh; details: " in done.error
    log = Path(done.error.rpartition("details: ")[2])
    assert "Traceback" in log.read_text()
    shown = cli("find", "--debug")
    assert shown.code == 70
    assert "Traceback" in shown.err


def test_an_unwritable_target_is_refused_before_the_work(cli: Any, session: FakeSession, tmp_path: Path) -> None:
    done = cli("find", "--out", tmp_path / "no" / "c.json")
    assert done.code == 2
    assert str(tmp_path / "no" / "c.json") in done.error
    assert session.asked is None


def test_a_full_device_is_one_line_that_says_what_helps(cli: Any, session: FakeSession) -> None:
    session.running = FakeSearch(RESULT, _fail(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")))
    done = cli("find")
    assert done.code == 2
    assert "CUDA out of memory" in done.error
    assert "--dtype bfloat16" in done.error
    assert Path(done.error.rpartition("log: ")[2].rstrip(")")).is_file()


def test_log_records_for_the_user_become_warnings(cli: Any, session: FakeSession) -> None:
    def tell(step: int) -> None:
        user_log.warning("Out of memory: %s goes on.", "it")

    session.running = FakeSearch(RESULT, tell)
    assert "warning: Out of memory: it goes on.\n" in cli("find").err


def test_sites_confine_a_search_and_the_circuit_file_has_these_alone(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "c.json"
    line = ("find", "--task", "sva-simple", "--target", "0.5", "--set", "steps=20", "--out", out)
    frontier = tmp_path / "frontier.csv"
    said = cli(*line, "--sites", "L0,blocks.2.hook_resid_post", "--frontier", frontier, "--intervals")
    assert said.code in (0, 1), said.err
    with frontier.open() as stream:
        points = list(csv.DictReader(stream))
    tested = [point for point in points if point["test"]]
    assert tested
    for point in tested:
        assert float(point["test_low"]) <= float(point["test"]) <= float(point["test_high"])
    hooks = [site["hook"] for site in json.loads(out.read_text())["sites"]]
    assert hooks == ["blocks.0.hook_resid_post", "blocks.2.hook_resid_post"]
    assert cli("check", out).code == 0
    wrong = cli(*line, "--sites", "L7")
    assert wrong.code == 2
    assert "--sites L7: there is no SAE at such a site" in wrong.err


def test_where_the_frontier_cannot_go_is_said_before_the_search(cli: Any, session: FakeSession, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("mine")
    for words, says in (
        (("--intervals",), "--intervals: only with --frontier"),
        (("--frontier", tmp_path / "f.json"), "its name must end in one of .csv, .md, .svg"),
        (("--frontier", tmp_path / "mine.csv"), "circuit-tui did not write"),
        (("--frontier", tmp_path / "f.csv", "--detach"), "--frontier: not with --detach"),
    ):
        done = cli("find", *words)
        assert done.code == 2
        assert says in done.err
    assert session.asked is None
