"""Problems that every test of the searches may use; nothing changes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from tiny.searched import Searched, able_problem
from tiny.world import World


@pytest.fixture(scope="session")
def searched(world: Callable[[str], World]) -> Callable[[str], Searched]:
    """A function from "shape" or "shape-positions" to a problem that can be searched."""

    @cache
    def made(name: str) -> Searched:
        shape, _, kind = name.partition("-")
        return Searched.of(able_problem(world(shape), kind or "shared"))  # type: ignore[arg-type]

    return made
