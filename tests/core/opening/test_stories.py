"""A real model that not every machine has: its published numbers come out of the engine.

The model's table uses all pairs, and the mean over corrupt prompts of the same length: positions are shared, and all
pairs are train prompts.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny.models_with_saes import CPU, TinyModel
from tiny.problems import open_problem

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.models.load_model import load_model
from circuit_tui.core.opening.check_fit import check_fit
from circuit_tui.core.saes.load_saes import load_saes
from circuit_tui.core.tasks.prompts_file import load_prompts
from circuit_tui.core.tasks.task import Task

# For each task, the clean accuracy and the LD of M, M_s and the empty circuit in the folder's README.
TABLE = {
    "pronoun": (0.988, 3.01, 2.79, -0.11),
    "name_recall": (0.956, 3.68, 3.62, 0.0),
    "object_recall": (0.964, 2.67, 2.89, 0.0),
}


@pytest.fixture(scope="module")
def opened(stories: Path) -> TinyModel:
    folders = tuple(sorted((stories / "saes").iterdir()))
    model = load_model(str(stories / "model"), CPU, torch.float32)
    sites = tuple(load_saes([], folders, CPU))
    check_fit(model, sites)
    return TinyModel(stories / "model", folders, model, sites)


@pytest.mark.parametrize("name", TABLE)
def test_the_published_numbers_come_out(opened: TinyModel, stories: Path, name: str) -> None:
    pairs = load_prompts(stories / "tasks" / f"{name}.jsonl").pairs
    train = [dataclasses.replace(pair, split="train") for pair in pairs]
    task = Task(name, "", (*train, dataclasses.replace(pairs[0], split="test")))
    problem = open_problem(opened, task, "shared", batch_size=128)
    prompts = problem.prompt_sets["train"].clean
    assert opened.model.verify(prompts.tokens[:8], prompts.last[:8]) < 1e-4
    baselines = Evaluator(problem, "train").baselines
    accuracy, plain, spliced, empty = TABLE[name]
    assert baselines.summarise(baselines.plain).accuracy == pytest.approx(accuracy, abs=6e-4)
    assert baselines.plain.mean_logit_diff == pytest.approx(plain, abs=6e-3)
    assert baselines.spliced.mean_logit_diff == pytest.approx(spliced, abs=6e-3)
    assert baselines.empty.mean_logit_diff == pytest.approx(empty, abs=6e-3)
