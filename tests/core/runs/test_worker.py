"""A worker that has searched other tasks and sites finds what a fresh session finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from tiny.models_with_saes import TinyModel
from tiny.searches import QUICK
from tiny.sessions import request, write_prompts
from tiny.solvable_task import solvable_task

from circuit_tui.core.errors import OutOfMemory, UserError
from circuit_tui.core.opening.experiment import open_experiment
from circuit_tui.core.opening.open_problem import ModelAndSites
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.runs import worker as worker_module
from circuit_tui.core.runs.grid import Grid, orders_of
from circuit_tui.core.runs.run_one import run_one
from circuit_tui.core.runs.worker import SweepWorker
from circuit_tui.core.views import LoadProgress


@pytest.fixture(scope="module")
def prompts(tiny_model: Callable[[str], TinyModel], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("prompts")
    made = [solvable_task(tiny_model("gpt2"), (6,) * 9, (6,) * 5, seed=seed) for seed in (0, 1)]
    one, other = (write_prompts(task, folder / f"task{at}.jsonl") for at, task in enumerate(made))
    return one, other


@pytest.mark.slow
def test_models_are_loaded_once_and_the_numbers_are_those_of_a_fresh_session(
    tiny_model: Callable[[str], TinyModel], prompts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = replace(request(tiny_model("gpt2"), prompts[0], errors="keep"), prompts=None)
    hook = tiny_model("gpt2").sites[1].hook
    orders = orders_of(
        Grid(
            base,
            prompts=prompts,
            methods=("nested",),
            targets=(0.8,),
            sites=((), (hook,)),
            settings={f"nested.{name}": (value,) for name, value in QUICK["nested"].items()},
        )
    )
    assert len(orders) == 4
    loads: list[OpenRequest] = []
    load_model_and_sites = worker_module.load_model_and_sites

    def counted(asked: OpenRequest, tell: Callable[[LoadProgress], None]) -> ModelAndSites:
        loads.append(asked)
        return load_model_and_sites(asked, tell)

    monkeypatch.setattr(worker_module, "load_model_and_sites", counted)
    worker, steps = SweepWorker(), list[tuple[int, int]]()
    records = [worker(order, lambda step, total: steps.append((step, total))) for order in orders]
    assert len(loads) == 2, "once for each choice of sites"
    assert [len(record.subject.sites) for record in records] == [2, 2, 1, 1]
    assert len(steps) == sum(record.steps for record in records)
    for order, record in zip(orders, records, strict=True):
        fresh = run_one(open_experiment(order.request), order.spec)
        assert record.nodes == fresh.nodes
        assert record.subject == fresh.subject
        assert [point.size for point in record.points] == [point.size for point in fresh.points]
        assert record.test.faithfulness == pytest.approx(fresh.test.faithfulness, abs=1e-5)


def test_what_cannot_be_opened_is_not_opened_again(
    tiny_model: Callable[[str], TinyModel], prompts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = replace(request(tiny_model("gpt2"), prompts[0]), prompts=None)
    orders = orders_of(Grid(base, prompts=prompts[:1], methods=("random",), seeds=(0, 1)))
    loads = 0

    def refuse(asked: OpenRequest, tell: object) -> NoReturn:
        nonlocal loads
        loads += 1
        raise UserError("SAE has another width")

    monkeypatch.setattr(worker_module, "load_model_and_sites", refuse)
    worker = SweepWorker()
    for order in orders:
        with pytest.raises(UserError, match="SAE has another width"):
            worker(order, lambda step, total: None)
    assert loads == 1


def test_a_full_device_is_gone_on_with_and_forgotten_when_there_is_room(
    tiny_model: Callable[[str], TinyModel], prompts: tuple[Path, Path], limit: Callable[[int], None]
) -> None:
    asked = request(tiny_model("gpt2"), prompts[0], errors="keep")
    settings = {"published.steps": (4,)}
    base = replace(asked, prompts=None)
    order = orders_of(Grid(base, prompts=prompts[:1], methods=("published",), settings=settings))[0]
    worker = SweepWorker()
    limit(0)
    with pytest.raises(OutOfMemory, match="out of memory"):
        worker(order, lambda step, steps: None)
    limit(4)
    record = worker(order, lambda step, steps: None)
    assert not record.stopped
    limit(2)
    assert "Memory ran out" in worker(order, lambda step, steps: None).warnings[0]
