"""Fixtures for an explorer on a fake session."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_session import FakeSession, opener
from serving import served

from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.engine.session_protocol import Opener
from circuit_tui.tui.explorer_options import ExplorerOptions


@pytest.fixture(autouse=True)
def keys_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pilot.press` and `pilot.pause` return once the app has handled all that follows, however long it takes."""
    for module in ("app", "pilot"):
        monkeypatch.setattr(f"textual.{module}.wait_for_idle", served)


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
def explorer(
    session: FakeSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., ExplorerApp]]:
    """A function that makes the app, on the test's session unless another opener is given.

    The explorer survives an error in a handler, the test does not: it clears `errors` of the app if it expects one.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)

    fake = opener(session)

    made: list[ExplorerApp] = []

    def make(opener: Opener = fake, **options: Any) -> ExplorerApp:
        made.append(ExplorerApp(OpenRequest(), ExplorerOptions(**options), opener=opener))
        return made[-1]

    yield make
    for app in made:
        assert not app.errors, [error for _, error in app.errors]
