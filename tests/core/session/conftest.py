"""Problems for sessions, and a function that makes fresh sessions of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from tiny.models_with_saes import TinyModel
from tiny.searches import solvable_problem
from tiny.sessions import make_session

from circuit_tui.core.session.session import Session


@pytest.fixture(scope="session")
def fresh_session(tiny_model: Callable[[str], TinyModel]) -> Callable[[str], Session]:
    """Maps "shape-positions" to a fresh session with nothing kept; "shape-positions-drop" drops SAE errors."""

    @cache
    def problem(name: str):  # type: ignore[no-untyped-def]
        shape, kind, errors = f"{name}-keep".split("-")[:3]
        return solvable_problem(tiny_model(shape), kind, errors=errors)  # type: ignore[arg-type]

    return lambda name: make_session(problem(name))
