"""Workers that do runs, and what they report: the same for processes of this machine and for a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from circuit_tui.core.runs.order import RunOrder
from circuit_tui.core.runs.record import RunRecord

Tell = Callable[[int, int], None]
"""Takes how many steps of how many, an estimate, a run has made."""


class Work(Protocol):
    """What a worker does: runs an order. It may keep what it has loaded for the next."""

    def __call__(self, order: RunOrder, tell: Tell) -> RunRecord:
        """Runs `order` and records it. What it raises is the run's error."""


MakeWork = Callable[[], Work]
"""Called once in each worker. Importable by name, for it is called in another process."""


@dataclass(frozen=True, slots=True)
class Step:
    """A worker has come so far."""

    worker: int
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Done:
    """A worker has finished its run; `record` is that as JSON."""

    worker: int
    record: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker's run failed; it is ready for another. `error` is one line; `traceback` not of a UserError."""

    worker: int
    error: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker is gone, and its run with it."""

    worker: int
    reason: str


Event = Step | Done | Failed | Lost


class Crew(Protocol):
    """Workers by number."""

    def hire(self) -> int:
        """Starts another worker and returns its number."""

    def give(self, worker: int, order: RunOrder) -> None:
        """Gives an idle worker something to do. If it has died, that is told by the next `events`."""

    def events(self, seconds: float) -> list[Event]:
        """What has happened; waits up to so long for something to happen."""

    def dismiss(self, worker: int) -> None:
        """Lets an idle worker go, and what it occupies with it."""

    def close(self) -> None:
        """Ends all workers at once, with what they are doing."""


def make_worker() -> Work:
    """The work of a sweep. Imports torch, so call it in the worker."""
    from circuit_tui.core.runs.worker import Worker

    return Worker()


def attempt(work: Work, order: RunOrder, tell: Tell) -> tuple[str, str, str]:
    """Does a run: (record as JSON, "", ""), or ("", one line, traceback) whatever goes wrong."""
    import traceback

    from circuit_tui.core.errors import UserError

    try:
        return work(order, tell).model_dump_json(by_alias=True), "", ""
    except UserError as error:
        return "", _one_line(str(error)), ""
    except Exception as error:  # noqa: BLE001 one run must not end the others
        return "", _one_line(f"{type(error).__name__}: {error}"), traceback.format_exc()


def _one_line(text: str) -> str:
    return " ".join(text.split())
