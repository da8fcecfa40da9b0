"""The GPU benchmark: every part runs at tiny shapes, and the report has every row, with a number or a reason."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gpu
import gpu_parts
import gpu_rows
import latency
import pytest
import search_time
import torch
from device_peak import Peak
from gpu_rows import Rows
from gpu_table import ROWS, Outcome, PartRun, outcomes, report, table, with_unit
from host_waits import host_waits

CPU = torch.device("cpu")
TINY = replace(
    gpu_parts.SMALL, dtype="float32", prompts=2, length=8, test=4, active=20, nodes=8, steps=1,
    search=(2, 8, 2, 1, 0.0),
    shapes={**dict.fromkeys(gpu_parts.SMALL.shapes, "gemma-2-tiny"), "gpt2-small": "gpt2-tiny"},
)  # fmt: skip
MODELS = [part for part in gpu_parts.PARTS if part != "demo"]


def rows_of(part: str) -> list[str]:
    return [row.name for row in ROWS if row.part == part]


@pytest.mark.parametrize("part", MODELS)
def test_every_row_of_a_part_is_measured(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_rows, "measured_peak", lambda *args: Peak(1e9, {torch.float32: 1e9}, "made up"))
    path = tmp_path / "outcomes"
    gpu_parts.PARTS[part](Rows(path), TINY, CPU)
    found = outcomes(path)
    assert sorted(found) == sorted(rows_of(part))
    for name, outcome in found.items():
        if name.startswith("search"):  # no time was given, or nothing is to be found
            assert outcome.number is None
            assert outcome.why_not
            continue
        assert outcome.why_not == ""
        assert outcome.number is not None
        assert outcome.number > 0
        if name.startswith("step"):
            details = outcome.details
            few = name.endswith("few")
            assert details["active"] == (TINY.active if few else details["candidates"])
            assert math.isfinite(details["loss"])
            assert outcome.number == pytest.approx(details["published_ms"] / details["step_ms"])
        if name.startswith("effects"):
            assert outcome.details["nodes"] == TINY.nodes
        if name.startswith("toggle"):
            assert outcome.details["toggled"] > 1


class MadeUpExplorer:
    """An explorer that is ready after 6.5 seconds."""

    quitted = False

    def __init__(self, *args: object) -> None:
        MadeUpExplorer.quitted = False

    def opened(self) -> tuple[float, float]:
        return 0.5, 6.5

    def quit(self) -> None:
        MadeUpExplorer.quitted = True


def test_the_demo_is_measured_through_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def timed(*args: object) -> SimpleNamespace:
        ran.append(args)
        return SimpleNamespace(search=2.5, ready=4.0, reached=True)

    monkeypatch.setattr(search_time, "timed", timed)
    monkeypatch.setattr(latency, "Explorer", MadeUpExplorer)
    monkeypatch.setattr(latency, "output_in_search", lambda explorer: (4000.0, {"seconds": 4.0}))
    gpu_parts.PARTS["demo"](Rows(tmp_path / "outcomes"), TINY, CPU)
    found = outcomes(tmp_path / "outcomes")
    assert {name: outcome.number for name, outcome in found.items()} == {
        "demo-search": 2.5, "demo-ready": 6.5, "output": 4.0,
    }  # fmt: skip
    assert ran == [(TINY.task, 0.95, ("--device", "cpu"))]
    assert MadeUpExplorer.quitted


def test_a_row_that_fails_says_why_and_the_next_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise TimeoutError("waited in vain\nfor a screen")

    monkeypatch.setattr(search_time, "timed", fail)
    monkeypatch.setattr(latency, "Explorer", MadeUpExplorer)
    monkeypatch.setattr(latency, "output_in_search", fail)
    gpu_parts.PARTS["demo"](Rows(tmp_path / "outcomes"), TINY, CPU)
    found = outcomes(tmp_path / "outcomes")
    assert found["demo-search"].why_not == "TimeoutError: waited in vain"
    assert found["demo-search"].number is None
    assert found["output"].why_not == "TimeoutError: waited in vain"
    assert found["demo-ready"].number == 6.5
    assert MadeUpExplorer.quitted


def test_a_part_has_a_time_limit_and_every_row_is_in_the_object_on_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "parts.py"
    script.write_text(
        "import json, pathlib, sys, time\n"
        "part, path = sys.argv[1], pathlib.Path(sys.argv[2])\n"
        "if part == 'demo': sys.exit('error: broken')\n"
        "row = {'row': 'step-gemma-2-9b', 'number': 6.5, 'why_not': '', 'details': {}}\n"
        "path.open('a').write(json.dumps(row) + '\\n{\"cut o')\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(gpu, "SCRIPT", script)
    monkeypatch.setattr(gpu, "LIMITS", {"demo": 30, "gemma-2-9b": 1, "gemma-2-2b": 1})
    assert gpu.main(["--seconds", f"{gpu.SECONDS:g}", "--device", "cpu"]) == 1
    out = capsys.readouterr().out.splitlines()
    found = {row["row"]: row for row in json.loads(out[-1])["rows"]}
    assert list(found) == [row.name for row in ROWS]
    assert found["step-gemma-2-9b"]["number"] == 6.5
    assert found["step-gemma-2-9b"]["met"] is True
    assert found["toggle-gemma-2-9b"]["why_not"] == "its part ran out of its 1 s"
    assert found["demo-ready"]["why_not"] == "its part ended with 1: error: broken"
    assert found["step-gpt2-small"]["why_not"] == "not asked for"
    assert [line for line in out if line.startswith("| ")][1:] == table(found.values()).splitlines()[2:]


def test_no_part_begins_without_time(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu, "run_part", lambda *args: pytest.fail("it began"))
    assert gpu.main(["--seconds", "300", "--spent", "299.5", "--device", "cpu"]) == 1
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert {row["why_not"] for row in rows} == {"no time was left for its part"}


def test_bounds_are_at_least_for_speeds_and_at_most_for_times() -> None:
    parts = {row.part: PartRun(1.0) for row in ROWS}
    met = {
        number: {
            line["row"]: line["met"] for line in report({row.name: Outcome(row.name, number) for row in ROWS}, parts)
        }
        for number in (0.0, 1000.0)
    }
    for row in ROWS:
        assert met[1000.0][row.name] == (row.unit == "x")
        assert met[0.0][row.name] == (row.unit != "x")
    assert {line["met"] for line in report({}, parts, rehearsed=True)} == {None}
    with pytest.raises(ValueError, match="output is nan"):
        Outcome("output", math.nan).append_to(Path("/dev/null"))


def test_the_first_outcome_of_a_row_holds(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "outcomes")
    with rows.attempt("output"):
        rows.add("output", 4.0)
        raise OSError("the program could not be quit")
    assert outcomes(rows.path)["output"].number == 4.0


def test_waits_are_counted_by_what_depends_on_data() -> None:
    numbers = torch.arange(4.0)

    def run() -> None:
        float(numbers.sum())
        numbers.nonzero()
        (numbers * 2).sum()

    waits, kinds = host_waits(run, 3, CPU)
    assert waits == 2
    assert (kinds["_local_scalar_dense"], kinds["nonzero"]) == (1, 1)


def test_the_page_on_speed_has_every_row(root: Path) -> None:
    page = (root / "docs" / "performance.md").read_text()
    for row in ROWS:
        assert f"| {row.what} | {with_unit(row.before, row.unit)} | {with_unit(row.bound, row.unit)} |" in page


def test_limits_grow_with_the_time_of_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def run_part(command: list[str], limit: float, log: Path) -> PartRun:
        log.touch()
        given.append(round(limit))
        return PartRun(0.0)

    monkeypatch.setattr(gpu, "run_part", run_part)
    for times in (1, 3):
        gpu.main(["--seconds", str(times * gpu.SECONDS), "--device", "cpu"])
    assert given[: len(gpu.LIMITS)] == list(gpu.LIMITS.values())
    assert given[len(gpu.LIMITS) :] == [3 * limit for limit in gpu.LIMITS.values()]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--wheels",), "gpu.sh: --wheels: a path is missing"),
        (("--wheels", "EMPTY"), "there are no wheels in it"),
        (("--wheels", "absent"), "gpu.sh: --wheels absent: no such folder"),
        (("--python", "absent"), "gpu.sh: --python absent: not found"),
        (("--parts", "gpt5"), "--parts gpt5: unknown; there are demo, gpt2-small, gemma-2-2b, gemma-2-9b"),
    ],
)
def test_the_script_refuses_what_it_cannot_use(root: Path, tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    given = [str(tmp_path) if flag == "EMPTY" else flag for flag in flags]
    python = [] if "--python" in flags else ["--python", sys.executable]
    command = ["bash", str(root / "benchmarks" / "gpu.sh"), *python, *given]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert not ended.stdout
