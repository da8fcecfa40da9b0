"""What a pool of workers is: they run orders in other processes and report what happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Order = TypeVar("Order")
Result = TypeVar("Result")
OrderIn = TypeVar("OrderIn", contravariant=True)
ResultOut = TypeVar("ResultOut", covariant=True)
ReportSteps = Callable[[int, int], None]
"""Takes the number of steps that a run has made, and an estimate of how many it will make."""


class Work(Protocol[OrderIn, ResultOut]):
    """What a worker does: it runs orders. It may keep what it has loaded for the next one."""

    def __call__(self, order: OrderIn, report: ReportSteps) -> ResultOut:
        """Runs `order` and returns its result. Both can be pickled. What it raises is the error of this run."""


MakeWork = Callable[[], Work[Order, Result]]
"""Called once in each worker. It can be pickled, because it is called in another process."""


@dataclass(frozen=True, slots=True)
class Step:
    """A worker has made `step` of about `steps` steps."""

    worker: int
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """A worker has finished its run and is idle."""

    worker: int
    result: Result


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker's run failed, and the worker is idle. `error` is one line; a UserError has no `traceback`."""

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
    """Workers, which go by number."""

    def start(self) -> int:
        """Starts another worker and returns its number."""

    def pid(self, worker: int) -> int:
        """Returns the process of a worker, on whatever machine it runs."""

    def submit(self, worker: int, order: OrderIn) -> None:
        """Gives an idle worker an order. If the worker has died, the next `events` say so."""

    def events(self, seconds: float) -> list[Event[Result]]:
        """Returns what has happened; waits for something to happen, up to `seconds`."""

    def stop(self, worker: int) -> None:
        """Lets an idle worker go, and frees what it occupies."""

    def close(self) -> None:
        """Ends all workers at once, whatever they are doing."""


def attempt(work: Work[Order, Result], order: Order, report: ReportSteps) -> tuple[Result | None, str, str]:
    """Runs an order and returns (result, "", ""), or (None, error in one line, traceback) whatever goes wrong."""
    import traceback

    from circuit_tui.core.errors import UserError

    try:
        return work(order, report), "", ""
    except UserError as error:
        return None, _one_line(str(error)), ""
    except Exception as error:  # noqa: BLE001 one run must not end the others
        return None, _one_line(f"{type(error).__name__}: {error}"), traceback.format_exc()


def _one_line(text: str) -> str:
    return " ".join(text.split())
