"""Workers that do what they are given, and what they report: processes of this machine, or actors of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Order = TypeVar("Order")
Result = TypeVar("Result")
OrderIn = TypeVar("OrderIn", contravariant=True)
ResultOut = TypeVar("ResultOut", covariant=True)
Tell = Callable[[int, int], None]
"""Takes how many steps of how many, an estimate, a run has made."""


class Work(Protocol[OrderIn, ResultOut]):
    """What a worker does: runs an order. It may keep what it has loaded for the next."""

    def __call__(self, order: OrderIn, tell: Tell) -> ResultOut:
        """Runs `order`; what comes of it can be pickled, as the order can. What it raises is the run's error."""


MakeWork = Callable[[], Work[Order, Result]]
"""Called once in each worker. It can be pickled, for it is called in another process."""


@dataclass(frozen=True, slots=True)
class Step:
    """A worker has come so far."""

    worker: int
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """A worker has finished its run."""

    worker: int
    result: Result


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


Event = Step | Done[Result] | Failed | Lost


class WorkerPool(Protocol[OrderIn, Result]):
    """Workers by number."""

    def start(self) -> int:
        """Starts another worker and returns its number."""

    def submit(self, worker: int, order: OrderIn) -> None:
        """Gives an idle worker something to do. If it has died, that is told by the next `events`."""

    def events(self, seconds: float) -> list[Event[Result]]:
        """What has happened; waits up to so long for something to happen."""

    def stop(self, worker: int) -> None:
        """Lets an idle worker go, and what it occupies with it."""

    def close(self) -> None:
        """Ends all workers at once, with what they are doing."""


def attempt(work: Work[Order, Result], order: Order, tell: Tell) -> tuple[Result | None, str, str]:
    """Does a run: (result, "", ""), or (None, one line, traceback) whatever goes wrong."""
    import traceback

    from circuit_tui.core.errors import UserError

    try:
        return work(order, tell), "", ""
    except UserError as error:
        return None, _one_line(str(error)), ""
    except Exception as error:  # noqa: BLE001 one run must not end the others
        return None, _one_line(f"{type(error).__name__}: {error}"), traceback.format_exc()


def _one_line(text: str) -> str:
    return " ".join(text.split())
