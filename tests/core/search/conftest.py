"""Problems that every test of the searches may use; nothing changes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from tiny.searched import Finished, Searched, able_problem
from tiny.world import World


@pytest.fixture(scope="session")
def searched(world: Callable[[str], World]) -> Callable[[str], Searched]:
    """A function from "shape" or "shape-positions" to a problem that can be searched."""

    @cache
    def made(name: str) -> Searched:
        shape, _, kind = name.partition("-")
        return Searched.of(able_problem(world(shape), kind or "shared"))  # type: ignore[arg-type]

    return made


@pytest.fixture(scope="session")
def finished(searched: Callable[[str], Searched]) -> Callable[..., Finished]:
    """A function from a problem's name and a method to its quick search for 0.8 with a seed, run once for all tests."""

    @cache
    def run(name: str, method: str, seed: int = 0) -> Finished:
        return Finished.of(searched(name).search(method, 0.8, seed))

    return run
