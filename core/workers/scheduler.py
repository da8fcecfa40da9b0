"""Gives orders to the workers of a pool until none is left; an order whose worker dies goes to another worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from circuit_tui.core.workers.pool import Done, Event, Failed, Lost, Result, Step, WorkerPool

MAX_LOSSES = 2
"""After losing this many workers (to lack of memory, say) an order has failed."""


class Named(Protocol):
    """What the scheduler needs of an order. Equal orders have equal names."""

    @property
    def id(self) -> str:
        """The name, which no other order has."""


NamedOrder = TypeVar("NamedOrder", bound=Named)
Choose = Callable[[Sequence[NamedOrder], NamedOrder | None, Sequence[NamedOrder]], NamedOrder]
"""Picks a worker's next order from those pending, its last order (None for a new worker) and those of the others."""


@dataclass(slots=True)
class Busy(Generic[NamedOrder]):
    """What a worker is doing: its order, and that it has made `step` of about `steps` steps."""

    order: NamedOrder
    step: int = 0
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Ended(Generic[NamedOrder, Result]):
    """An order that is over: its result, or an error of one line, with a traceback unless it was a UserError."""

    order: NamedOrder
    result: Result | None
    error: str = ""
    traceback: str = ""


class Scheduler(Generic[NamedOrder, Result]):
    """Orders, and up to `jobs` workers of `pool` to run them.

    Attributes:
        pending: the orders that no worker has.
        busy: what each worker is doing, by its number.
    """

    def __init__(
        self,
        orders: Sequence[NamedOrder],
        pool: WorkerPool[NamedOrder, Result],
        jobs: int,
        choose: Choose[NamedOrder] = lambda pending, last, others: pending[0],
    ) -> None:
        self._pool, self._jobs, self._choose = pool, jobs, choose
        self.pending = list(orders)
        self.busy: dict[int, Busy[NamedOrder]] = {}
        self._idle: dict[int, NamedOrder | None] = {}
        self._losses: dict[str, int] = {}

    @property
    def finished(self) -> bool:
        """Whether no order is left."""
        return not (self.pending or self.busy)

    def assign(self) -> bool:
        """Gives orders to idle workers, starting and stopping workers as needed; returns whether it gave any."""
        assigned = False
        while self.pending and (self._idle or len(self.busy) < self._jobs):
            worker, last = self._idle.popitem() if self._idle else (self._pool.start(), None)
            order = self._choose(self.pending, last, [busy.order for busy in self.busy.values()])
            self.pending.remove(order)
            self.busy[worker] = Busy(order)
            self._pool.submit(worker, order)
            assigned = True
        while self._idle:  # on a shared machine others may be waiting for their place
            self._pool.stop(self._idle.popitem()[0])
        return assigned

    def handle(self, event: Event[Result]) -> Ended[NamedOrder, Result] | None:
        """Takes in what a worker reports; returns its order if that is over now."""
        if isinstance(event, Step):
            busy = self.busy[event.worker]
            busy.step, busy.steps = event.step, event.steps
            return None
        if event.worker not in self.busy:  # it was lost while it had nothing to do
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
