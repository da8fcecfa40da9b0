"""All numbers of circuits, checked against an implementation with plain hooks, one prompt at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from tiny.compare import assert_circuits_agree
from tiny.models_with_saes import TinyModel
from tiny.problems import open_problem
from tiny.tasks import TASKS, make_task

from circuit_tui.core.choices import ABLATIONS, ERRORS, AblationKind, ErrorsKind, PositionsKind
from circuit_tui.core.evaluation.evaluator import Evaluator

SHAPES = ("gpt2", "llama", "gemma2")
POSITIONS: dict[str, tuple[PositionsKind, str]] = {
    "index": ("each", "index"),
    "roles": ("each", "roles"),
    "end": ("end", "mixed"),
    "shared": ("shared", "mixed"),
}


# A third of all combinations, in which any three of the four choices meet in every way.
CASES = [
    (SHAPES[(p + a + e) % len(SHAPES)], positions, ablation, errors)
    for (p, positions), (a, ablation), (e, errors) in product(*map(enumerate, (POSITIONS, ABLATIONS, ERRORS)))
]


@pytest.mark.parametrize(("shape", "positions", "ablation", "errors"), CASES)
def test_a_circuit_measures_what_plain_hooks_measure(
    tiny_model: Callable[[str], TinyModel], shape: str, positions: str, ablation: AblationKind, errors: ErrorsKind
) -> None:
    opened = tiny_model(shape)
    kind, task = POSITIONS[positions]
    problem = open_problem(opened, TASKS[task], kind, ablation, errors, batch_size=3)
    assert_circuits_agree(opened, Evaluator(problem, "test"), seed=0)


@pytest.mark.parametrize("errors", ERRORS)
def test_words_of_unseen_prompts_whose_role_no_train_prompt_has_are_left_alone(
    tiny_model: Callable[[str], TinyModel], errors: ErrorsKind
) -> None:
    opened = tiny_model("llama")
    task, other = make_task((5,) * 5, (5,) * 3, roles=True), make_task((5, 5), (6, 7, 5), roles=True, seed=3)
    unseen = tuple(replace(pair, split="unseen") for pair in other.split("test"))
    problem = open_problem(opened, replace(task, pairs=task.pairs + unseen), "each", "mean", errors, batch_size=2)
    assert problem.alignment.unspliced_roles == ("adj",)
    assert_circuits_agree(opened, Evaluator(problem, "unseen"), seed=0)
