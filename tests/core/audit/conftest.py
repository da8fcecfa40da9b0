"""A tiny problem with held-out prompts of two kinds, the oracle for it, and circuits of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tiny.able import able_task
from tiny.audited import Plainly, with_unseen
from tiny.opened import open_naive, open_problem
from tiny.world import World

from circuit_tui.core.splice.problem import Problem


@pytest.fixture(scope="session")
def problem(world: Callable[[str], World]) -> Problem:
    """A task the model can do, SAE errors kept: the splice costs nothing."""
    tiny = world("gpt2")
    return open_problem(tiny, with_unseen(able_task(tiny, (6,) * 8, (6,) * 10)), errors="keep")


@pytest.fixture(scope="session")
def plainly(world: Callable[[str], World], problem: Problem) -> Plainly:
    """The oracle of `problem`."""
    return Plainly(open_naive(world("gpt2"), problem))
