"""An experiment in which searches run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tiny.models_with_saes import TinyModel
from tiny.searches import solvable_problem
from tiny.sessions import make_experiment

from circuit_tui.core.opening.experiment import Experiment


@pytest.fixture(scope="session")
def experiment(tiny_model: Callable[[str], TinyModel]) -> Experiment:
    return make_experiment(solvable_problem(tiny_model("gpt2"), "each"))
