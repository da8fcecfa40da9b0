"""Problems that every test of the searches may use; nothing changes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from tiny.models_with_saes import TinyModel
from tiny.searches import FinishedSearch, SearchableProblem, solvable_problem


@pytest.fixture(scope="session")
def searchable(tiny_model: Callable[[str], TinyModel]) -> Callable[[str], SearchableProblem]:
    """A function from "shape" or "shape-positions" to a problem that can be searchable."""

    @cache
    def made(name: str) -> SearchableProblem:
        shape, _, kind = name.partition("-")
        return SearchableProblem.of(solvable_problem(tiny_model(shape), kind or "shared"))  # type: ignore[arg-type]

    return made


@pytest.fixture(scope="session")
def finished_search(searchable: Callable[[str], SearchableProblem]) -> Callable[..., FinishedSearch]:
    """A function from a problem's name and a method to its quick search for 0.8 with a seed, run once for all tests."""

    @cache
    def run(name: str, method: str, seed: int = 0) -> FinishedSearch:
        return FinishedSearch.of(searchable(name).search(method, 0.8, seed))

    return run
