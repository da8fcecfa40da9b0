"""Gives orders to the workers of a crew until all are over; one whose worker dies is given to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from circuit_tui.core.workers.pool import Done, Event, Failed, Lost, Result, Step, WorkerPool

MAX_LOSSES = 2
"""A run that has taken so many workers with it (memory, say) has failed."""


class Named(Protocol):
    """An order as far as it matters here. Equal orders have equal names."""

    @property
    def id(self) -> str:
        """Tells it from all other orders."""


NamedOrder = TypeVar("NamedOrder", bound=Named)
Choose = Callable[[Sequence[NamedOrder], NamedOrder | None, Sequence[NamedOrder]], NamedOrder]
"""From what is left to do, what the worker did before (None of a new one) and what others are at, to its next order."""


@dataclass(slots=True)
class Busy(Generic[NamedOrder]):
    """What a worker is at: its order and how many steps of how many it has made."""

    order: NamedOrder
    step: int = 0
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Ended(Generic[NamedOrder, Result]):
    """What came of an order: a result, or an error of one line, with its traceback if that is no UserError's."""

    order: NamedOrder
    result: Result | None
    error: str = ""
    traceback: str = ""


class Scheduler(Generic[NamedOrder, Result]):
    """Orders and the workers, up to `jobs` of `crew` at once, that they are given to.

    Attributes:
        pending: what no worker has been given yet.
        busy: what each worker is at, by its number.
    """

    def __init__(
        self,
        orders: Sequence[NamedOrder],
        crew: WorkerPool[NamedOrder, Result],
        jobs: int,
        choose: Choose[NamedOrder] = lambda pending, before, others: pending[0],
    ) -> None:
        self._crew, self._jobs, self._choose = crew, jobs, choose
        self.pending = list(orders)
        self.busy: dict[int, Busy[NamedOrder]] = {}
        self._idle: dict[int, NamedOrder | None] = {}
        self._losses: dict[str, int] = {}

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.pending or self.busy)

    def assign(self) -> bool:
        """Gives the idle something to do, and tells whether there was anything; hires and dismisses as needed."""
        gave = False
        while self.pending and (self._idle or len(self.busy) < self._jobs):
            worker, before = self._idle.popitem() if self._idle else (self._crew.start(), None)
            order = self._choose(self.pending, before, [busy.order for busy in self.busy.values()])
            self.pending.remove(order)
            self.busy[worker] = Busy(order)
            self._crew.submit(worker, order)
            gave = True
        while self._idle:  # on a shared machine others may be waiting for the place
            self._crew.stop(self._idle.popitem()[0])
        return gave

    def take(self, event: Event[Result]) -> Ended[NamedOrder, Result] | None:
        """Takes what a worker reports; what came of its order, if that is over."""
        if isinstance(event, Step):
            busy = self.busy[event.worker]
            busy.step, busy.steps = event.step, event.steps
            return None
        if event.worker not in self.busy:  # lost, but it had nothing to do
            self._idle.pop(event.worker, None)
            return None
        order = self.busy.pop(event.worker).order
        match event:
            case Done(worker, result):
                self._idle[worker] = order
                return Ended(order, result)
            case Failed(worker, error, traceback):
                self._idle[worker] = order
                return Ended(order, None, error, traceback)
            case Lost(_, reason):
                return self._lost(order, reason)

    def _lost(self, order: NamedOrder, reason: str) -> Ended[NamedOrder, Result] | None:
        self._losses[order.id] = self._losses.get(order.id, 0) + 1
        if self._losses[order.id] < MAX_LOSSES:
            self.pending.insert(0, order)
            return None
        return Ended(order, None, f"{reason}, {MAX_LOSSES} times")
