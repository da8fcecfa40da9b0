"""A tiny problem with held-out prompts of two kinds, the oracle for it, and circuits of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tiny.able import able_task
from tiny.audited import Oracle, with_unseen
from tiny.opened import open_naive, open_problem
from tiny.world import World

from circuit_tui.core.splice.problem import Problem


@pytest.fixture(scope="session")
def problem(world: Callable[[str], World]) -> Problem:
    """A task that the model can do. SAE errors are kept, so the splice costs nothing."""
    tiny = world("gpt2")
    return open_problem(tiny, with_unseen(able_task(tiny, (6,) * 8, (6,) * 10)), errors="keep")


@pytest.fixture(scope="session")
def oracle(world: Callable[[str], World], problem: Problem) -> Oracle:
    """The oracle of `problem`."""
    return Oracle(open_naive(world("gpt2"), problem))
