"""The commands that list: tasks, saes, doctor, and the help texts."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from circuit_tui.core.tasks import builtin as tasks
from circuit_tui.tui.cli import main
from circuit_tui.tui.commands import output


def test_tasks_as_json(cli: Any) -> None:
    listed = cli("tasks", "--json").data["tasks"]
    assert [row["name"] for row in listed] == list(tasks.names())
    assert set(listed[0]) == {"name", "description", "n_train", "n_test", "n_unseen", "positions"}
    simple = next(row for row in listed if row["name"] == "sva-simple")
    assert "subject" in simple["positions"]
    assert min(simple["n_train"], simple["n_test"], simple["n_unseen"]) > 0


def test_tasks_as_a_table(cli: Any) -> None:
    lines = cli("tasks").out.splitlines()
    for name in tasks.names():
        assert any(line.startswith(f"{name} ") for line in lines)
    assert not [line for line in lines if line != line.rstrip()]


@pytest.mark.slow
def test_saes_are_found_by_words(cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = cli("saes", "--json", "GPT2-small-res-jb", "blocks.7.hook").data["saes"]
    assert found == [
        {
            "release": "gpt2-small-res-jb",
            "id": "blocks.7.hook_resid_pre",
            "model": "gpt2-small",
            "hook": "blocks.7.hook_resid_pre",
            "layer": 7,
            "width": 24576,
            "l0": 54.0,
            "neuronpedia_id": "gpt2-small/7-res-jb",
            "on_disk": False,
            "bytes": 2 * 24576 * 768 * 4,
        }
    ]
    scope = cli("saes", "--json", "gemma-scope-2b-pt-res-canonical layer_3/ 16k").data["saes"]
    assert [sae["hook"] for sae in scope] == ["blocks.3.hook_resid_post"]
    llama = cli("saes", "--json", "llama_scope_lxr_8x", "l0r_8x").data["saes"]
    assert llama[0]["hook"] == "blocks.0.hook_resid_post"
    listed = cli("saes")
    assert "gemma-scope-9b-pt-res-canonical" in listed.out
    table = cli("saes", "gpt2-small-res-jb blocks.7.")
    line = next(line for line in table.out.splitlines() if line.startswith("gpt2-small-res-jb:blocks.7."))
    assert line.split()[2:] == ["blocks.7.hook_resid_pre", "24,576", "54", "~151", "MB", "gpt2-small/7-res-jb"]
    nothing = cli("saes", "no-such-sae", "--json")
    assert (nothing.code, nothing.data) == (1, {"saes": []})


def test_doctor_finds_this_machine_whole(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "91")
    done = cli("doctor", "--json")
    assert done.code == 0
    assert done.data["problems"] == done.data["missing"] == []
    assert done.data["python"] == ".".join(map(str, sys.version_info[:3]))
    assert done.data["devices"][0]["name"] == "cpu"
    assert done.data["cores"] >= 1
    assert done.data["terminal"]["columns"] == 91
    assert "bundled model" in cli("doctor").out


def test_doctor_says_what_is_missing(cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("circuit_tui.core.demo.model_dir", lambda: tmp_path / "model")
    done = cli("doctor")
    assert done.code == 1
    assert f"problem: {tmp_path / 'model' / 'config.json'} is missing" in done.out


@pytest.mark.parametrize("command", ["explore", "find", "check", "tasks", "saes", "doctor"])
def test_every_command_explains_itself(cli: Any, command: str) -> None:
    assert command in cli("--help").out
    done = cli(command, "--help")
    assert done.code == 0
    assert f"circuit-tui {command}" in done.out
    assert "--debug" in done.out
    if command != "explore":
        assert "--json" in done.out


def test_version(cli: Any) -> None:
    assert cli("--version").out == "circuit-tui 0.1.0\n"


@pytest.mark.parametrize("args", [("tasks", "--json"), ("tasks",)])
def test_a_closed_pipe_changes_nothing_about_the_answer(args: tuple[str, ...]) -> None:
    command = [str(Path(sys.executable).with_name("circuit-tui")), *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 0


def test_a_closed_pipe_does_not_end_a_long_list(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        done = cli("saes", "gpt2")
    assert (done.code, done.err) == (0, "")


@contextlib.contextmanager
def latin() -> Iterator[io.BytesIO]:
    """The bytes that arrive at a stdout which has the 256 characters of Latin-1 alone, and fails at others."""
    written = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        stdout = io.TextIOWrapper(written, encoding="latin-1", write_through=True)
        patch.setattr(sys, "stdout", stdout)
        yield written


@pytest.mark.parametrize("args", [("tasks",), ("saes", "gpt2"), ("doctor",)])
def test_what_the_encoding_does_not_have_is_replaced(args: tuple[str, ...]) -> None:
    with latin() as written:
        assert main(args) == 0
        assert written.getvalue()


def test_a_dash_becomes_a_question_mark() -> None:
    with latin() as written:
        output.replace_unencodable()
        output.print_table(("f",), [("–",)])
        output.print_line("«0.5» – …")
        assert written.getvalue().decode("latin-1").splitlines()[-2:] == ["?", "«0.5» ? ?"]


def test_json_is_whole_in_any_encoding() -> None:
    with latin() as written:
        output.replace_unencodable()
        output.print_json({"label": "–猫"})
        assert json.loads(written.getvalue()) == {"label": "–猫"}


def test_stdout_is_one_json_object_in_a_real_process() -> None:
    command = [str(Path(sys.executable).with_name("circuit-tui")), "tasks", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["tasks"]
    assert done.stderr == ""
