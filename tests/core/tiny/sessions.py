"""Sessions on tiny models, from a problem in memory or from files as on a command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from circuit_tui.core.circuits.schema import TaskSource
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.opening.open_problem import OpenedProblem
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.session.session import Session
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.task import Task
from circuit_tui.core.views import Metrics
from tiny.models_with_saes import TinyModel


def make_experiment(problem: Problem) -> Experiment:
    """An experiment on a problem in memory."""
    return Experiment.of(OpenedProblem(problem, "tiny", TaskSource(kind="file", path="tiny.jsonl")))


def make_session(problem: Problem) -> Session:
    """A fresh session with nothing kept."""
    return Session(make_experiment(problem))


def write_prompts(task: Task, path: Path) -> Path:
    """`task` as a prompts file."""
    rows = []
    for pair in task.pairs:
        row = {key: value for key, value in asdict(pair).items() if value not in (None, "")}
        rows.append(json.dumps(row | {"roles": list(pair.roles)}))
    path.write_text("\n".join(rows) + "\n")
    return path


def request(tiny_model: TinyModel, prompts: Path, **changes: Any) -> OpenRequest:
    """The request that opens `prompts` on the folders of a tiny model."""
    given: dict[str, Any] = {"model": str(tiny_model.folder), "sae_dirs": tiny_model.sae_folders, "prompts": prompts}
    return OpenRequest(**{**given, "device": "cpu", **changes})


def spread_out(asked: OpenRequest) -> OpenRequest:
    """The same request, spread over all devices."""
    return replace(asked, device=None, device_map="auto")


def kept_of(session: Session) -> Tensor:
    """The circuit as its view shows it, `[node]` bool."""
    return torch.tensor(list(session.view().kept), dtype=torch.bool)


def names_of_kept(session: Session) -> set[tuple[str, str, int]]:
    """The kept nodes as (hook, position, latent)."""
    table = session.table
    return {
        (table.sites[table.site[node]].hook, table.positions[table.position[node]], table.latent[node])
        for node, on in enumerate(session.view().kept)
        if on
    }


def settle(session: Session) -> None:
    """Computes every number that is left to background work."""
    while session.work():
        pass


def assert_toggles_alike(near: Session, far: Session) -> None:
    """Checks that the same edits of both sessions lead to the same circuit, numbers and views."""
    for session in (near, far):
        session.only(range(0, len(session.table), len(session.table) // 6))
        settle(session)
        session.toggle_node(1)
        session.toggle_site(1)
        session.undo()
        settle(session)
    assert kept_of(near).equal(kept_of(far))
    for name in ("faithfulness", "faithfulness_spliced", "completeness", "kl", "cross_entropy"):
        assert getattr(far.view().test, name) == pytest.approx(getattr(near.view().test, name), abs=1e-5), name
    assert far.view().effect == pytest.approx(near.view().effect, abs=1e-5)
    latent = near.table.latent[-1]
    ours, theirs = far.latent_view(1, latent), near.latent_view(1, latent)
    assert ours.promotes[0][1] == pytest.approx(theirs.promotes[0][1], abs=1e-4)
    assert ours.neighbours[0][1] == pytest.approx(theirs.neighbours[0][1], abs=1e-5)
    assert [fired[:2] for fired in far.prompt_view(0).active] == [fired[:2] for fired in near.prompt_view(0).active]


def assert_close(got: Metrics, expected: Metrics, without: Sequence[str] = (), tolerance: float = 1e-5) -> None:
    """Compares every metric except those in `without`."""
    for part in fields(Metrics):
        if part.name not in without:
            one, other = getattr(got, part.name), getattr(expected, part.name)
            assert one == pytest.approx(other, abs=tolerance, rel=tolerance), part.name
