"""An experiment in which searches run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tiny.searched import able_problem
from tiny.sessions import make_experiment
from tiny.world import World

from circuit_tui.core.opening.experiment import Experiment


@pytest.fixture(scope="session")
def experiment(world: Callable[[str], World]) -> Experiment:
    return make_experiment(able_problem(world("gpt2"), "each"))
