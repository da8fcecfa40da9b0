"""All numbers of circuits, checked against an implementation with plain hooks, one prompt at a time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
from tiny.compared import check_everything
from tiny.opened import open_problem
from tiny.tasks import TASKS
from tiny.world import World

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
    world: Callable[[str], World], shape: str, positions: str, ablation: AblationKind, errors: ErrorsKind
) -> None:
    opened = world(shape)
    kind, task = POSITIONS[positions]
    problem = open_problem(opened, TASKS[task], kind, ablation, errors, batch_size=3)
    check_everything(opened, Evaluator(problem, "test"), seed=0)
