"""The command that starts a search anew asks for the same search of the same things."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.saes.sae_filter import SiteFlags
from circuit_tui.core.search.objectives import Objective
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.tui.cli import main
from circuit_tui.tui.commands import find
from circuit_tui.tui.commands.restart_command import restart_command

SEARCHES = [
    (OpenRequest(seed=2), SearchSpec("mask", 0.95, 2), None),
    (
        OpenRequest(
            model="gpt2",
            saes=("some-release",),
            site_flags=SiteFlags(layers="4-8", width="16k", l0="60"),
            task="ioi",
            chat=True,
            ablation="zero",
            errors="keep",
            dtype="bfloat16",
            batch=8,
            padding="left",
            device="cuda:1",
        ),
        SearchSpec("published", 0.9, 0, {"lambda": 0.2, "per_position": False}),
        Path("a circuit.json"),
    ),
    (
        OpenRequest(sae_dirs=(Path("one"), Path("two words")), task="ioi", positions="end", ablation="clean-mean"),
        SearchSpec("hard-concrete", 0.5, 0, {"size": 7}),
        None,
    ),
    (
        OpenRequest(task="ioi"),
        SearchSpec("mask", 0.8, 0, {}, (Objective("kl", 0.8), Objective("prob", 0.7)), ("zero", "resample"), 0.1, True),
        None,
    ),
]


@pytest.mark.parametrize(("request_", "spec", "out"), SEARCHES)
def test_it_asks_for_the_same(
    request_: OpenRequest, spec: SearchSpec, out: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.chdir(tmp_path)
    for folder in request_.sae_dirs:
        folder.mkdir()

    def record(job: object, *given: object, json: bool, debug: bool, **more: object) -> int:
        asked.append(given)
        return 0

    monkeypatch.setattr(find, "run_search", record)
    program, *words = shlex.split(restart_command(request_, spec, out))
    assert program == "circuit-tui"
    assert main(words) == 0
    assert asked == [(request_, spec.complete(), out)]
