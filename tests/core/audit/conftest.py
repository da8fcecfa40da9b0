"""A tiny problem with held-out prompts of two kinds, the oracle for it, and circuits of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tiny.audits import Oracle, with_unseen
from tiny.models_with_saes import TinyModel
from tiny.problems import open_naive, open_problem
from tiny.solvable_task import solvable_task

from circuit_tui.core.splice.problem import Problem


@pytest.fixture(scope="session")
def problem(tiny_model: Callable[[str], TinyModel]) -> Problem:
    """A task that the model can do. SAE errors are kept, so the splice costs nothing."""
    tiny = tiny_model("gpt2")
    return open_problem(tiny, with_unseen(solvable_task(tiny, (6,) * 8, (6,) * 10)), errors="keep")


@pytest.fixture(scope="session")
def oracle(tiny_model: Callable[[str], TinyModel], problem: Problem) -> Oracle:
    """The oracle of `problem`."""
    return Oracle(open_naive(tiny_model("gpt2"), problem))
