"""Gives the runs of a sweep to workers and writes down what comes back, until all are done.

Only this process writes results, each run in one transaction; so a run is in the file whole or not at all, and once.
A run whose worker dies is given to another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from circuit_tui.core.runs.order import RunOrder
from circuit_tui.core.runs.record import RunRecord
from circuit_tui.core.runs.results_file import ResultsFile, SubjectError
from circuit_tui.core.workers.pool import Work, WorkerPool
from circuit_tui.core.workers.scheduler import Busy, Ended, Scheduler

WAIT = 0.5


@dataclass(slots=True)
class SweepState:
    """How far a sweep is. `found` were finished before it began; `busy` is what each worker is at."""

    total: int
    found: int
    done: int = 0
    failed: list[tuple[RunOrder, str]] = field(default_factory=list)
    busy: dict[int, Busy[RunOrder]] = field(default_factory=dict)
    last: tuple[RunOrder, RunRecord | str] | None = None


Watch = Callable[[SweepState], None]


def make_worker() -> Work[RunOrder, RunRecord]:
    """The work of a sweep. Imports torch, so call it in the worker."""
    from circuit_tui.core.runs.worker import Worker

    return Worker()


class Sweep:
    """Does all of `orders` that are not finished in `results`, with up to `jobs` workers of `pool` at once.

    `watch` sees every change; `last` is then the run that just ended, with its record or its error.
    """

    def __init__(
        self,
        orders: Sequence[RunOrder],
        results: ResultsFile,
        pool: WorkerPool[RunOrder, RunRecord],
        jobs: int,
        watch: Watch,
    ) -> None:
        self._results, self._pool, self._watch = results, pool, watch
        finished = results.done()
        left = [order for order in orders if order.id not in finished]
        self._scheduler = Scheduler(left, pool, jobs, _next)
        self.state = SweepState(len(orders), len(orders) - len(left), busy=self._scheduler.busy)

    def run(self) -> SweepState:
        """Works until nothing is left to do."""
        self._watch(self.state)
        while not self._scheduler.finished:
            if self._scheduler.assign():
                self.state.last = None
                self._watch(self.state)
            for event in self._pool.events(WAIT):
                self.state.last = None
                ended = self._scheduler.handle(event)
                if ended is not None:
                    self._write(ended)
                self._watch(self.state)
        return self.state

    def _write(self, ended: Ended[RunOrder, RunRecord]) -> None:
        order, record = ended.order, ended.result
        if record is None:
            self._fail(order, ended.error, ended.traceback)
            return
        try:
            self._results.save(order, record)
        except SubjectError as error:
            self._fail(order, str(error))
        else:
            self.state.done += 1
            self.state.last = (order, record)

    def _fail(self, order: RunOrder, error: str, traceback: str = "") -> None:
        self._results.save_failure(order, error, traceback)
        self.state.failed.append((order, error))
        self.state.last = (order, error)


def _next(pending: Sequence[RunOrder], before: RunOrder | None, others: Sequence[RunOrder]) -> RunOrder:
    """The order that costs a worker the least to begin: what it has open, then what it has loaded.

    A worker that has to open something takes what no other is at, as far as there is such a thing.
    """
    opened = {order.opening for order in others}

    def cost(order: RunOrder) -> tuple[bool, bool, bool]:
        loaded = before is not None and before.parts == order.parts
        return (before is None or before.opening != order.opening, not loaded, order.opening in opened)

    return min(pending, key=cost)
