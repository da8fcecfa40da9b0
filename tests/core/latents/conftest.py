"""Fresh sessions on tiny problems, as the tests of sessions use them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from tiny.models_with_saes import TinyModel
from tiny.searches import solvable_problem
from tiny.sessions import make_session

from circuit_tui.core.session.session import Session


@pytest.fixture(scope="session")
def fresh(tiny_model: Callable[[str], TinyModel]) -> Callable[[str], Session]:
    """Maps "shape-positions" to a fresh session with nothing kept; errors of SAEs are kept."""

    @cache
    def problem(name: str):  # type: ignore[no-untyped-def]
        shape, kind = name.split("-")
        return solvable_problem(tiny_model(shape), kind, errors="keep")  # type: ignore[arg-type]

    return lambda name: make_session(problem(name))
