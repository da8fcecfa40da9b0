"""What `explore` and the bare command hand to the explorer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.tui.explorer_options import ExplorerOptions


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments that the explorer would have been started with."""
    calls: list[Any] = []

    def run(request: OpenRequest, options: ExplorerOptions, **rest: Any) -> int:
        calls.append((request, options, rest))
        return 0

    monkeypatch.setattr("circuit_tui.tui.app.run_explorer", run)
    return calls


def test_the_bare_command_opens_the_demo(cli: Any, started: list[Any]) -> None:
    assert cli().code == 0
    request, options, rest = started[0]
    assert request == OpenRequest()
    assert rest.pop("autosave"), "in a job of its own"
    path = rest.pop("log_path")
    assert path.name == "circuit-tui.log"
    assert path.parent.is_dir()
    assert rest.pop("settings").name == "explorer.json"
    assert rest == {"mouse": True}
    assert options == ExplorerOptions(False, None, None, 0.95, "mask", 0, None)


def test_explore_alone_is_the_same(cli: Any, started: list[Any]) -> None:
    cli()
    cli("explore")
    cli("--debug")
    assert started[0] == started[1] == started[2]


def test_flags_reach_the_explorer(cli: Any, started: list[Any], tmp_path: Path) -> None:
    out, text = tmp_path / "c.json", tmp_path / "words.txt"
    text.write_text("words")
    done = cli(
        *("explore", "--task", "ioi", "--low-bandwidth", "--no-mouse", "--theme", "light", "--out", out),
        *("--target", 0.9, "--method", "ig", "--seed", 3, "--text", text),
    )
    assert done.code == 0
    request, options, rest = started[0]
    assert request == OpenRequest(task="ioi", seed=3)
    assert not rest["mouse"]
    assert options == ExplorerOptions(True, "light", out, 0.9, "ig", 3, text)


def test_without_a_terminal_there_is_a_clear_line() -> None:
    command = [Path(sys.executable).with_name("circuit-tui")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: the explorer needs a terminal")
    assert done.stderr.count("\n") == 1
