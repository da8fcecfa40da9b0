"""A session that searches are run in; no run changes its circuit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tiny.searched import able_problem
from tiny.sessions import make_session
from tiny.world import World

from circuit_tui.core.session.session import Session


@pytest.fixture(scope="session")
def session(world: Callable[[str], World]) -> Session:
    return make_session(able_problem(world("gpt2"), "each"))
