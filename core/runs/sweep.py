"""Gives the runs of a sweep to workers and writes their records, until all runs are done.

Only this process writes results, each run in one transaction: a run is in the file once, and whole, or not at all. If a
worker dies, another one gets its run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from circuit_tui.core.runs.order import RunOrder
from circuit_tui.core.runs.record import RunRecord
from circuit_tui.core.runs.results_file import IdentityError, ResultsFile
from circuit_tui.core.workers.pool import Work, WorkerPool
from circuit_tui.core.workers.scheduler import Busy, Ended, Scheduler

WAIT_SECONDS = 0.5
"""The time between two looks at what workers report."""


@dataclass(slots=True)
class SweepState:
    """How far a sweep is.

    Attributes:
        total: the number of runs.
        already_done: runs that were finished before the sweep began.
        done: runs that the sweep has finished.
        failed: the runs that failed, each with its error.
        busy: what each worker is doing, by its number.
        last: the run that has just ended, with its record or its error.
    """

    total: int
    already_done: int
    done: int = 0
    failed: list[tuple[RunOrder, str]] = field(default_factory=list)
    busy: dict[int, Busy[RunOrder]] = field(default_factory=dict)
    last: tuple[RunOrder, RunRecord | str] | None = None


WatchSweep = Callable[[SweepState], None]


def make_worker() -> Work[RunOrder, RunRecord]:
    """Returns the work of a sweep. It imports torch, so call it in the worker."""
    from circuit_tui.core.runs.worker import SweepWorker

    return SweepWorker()


class Sweep:
    """Runs all of `orders` that are not finished in `results`, with up to `jobs` workers of `pool` at once.

    `watch` sees every change of the state.
    """

    def __init__(
        self,
        orders: Sequence[RunOrder],
        results: ResultsFile,
        pool: WorkerPool[RunOrder, RunRecord],
        jobs: int,
        watch: WatchSweep,
    ) -> None:
        self._results, self._pool, self._watch = results, pool, watch
        finished = results.finished_ids()
        left = [order for order in orders if order.id not in finished]
        self._scheduler = Scheduler(left, pool, jobs, _cheapest)
        self.state = SweepState(len(orders), len(orders) - len(left), busy=self._scheduler.busy)

    def run(self) -> SweepState:
        """Works until nothing is left to do, and returns the final state."""
        self._watch(self.state)
        while not self._scheduler.finished:
            if self._scheduler.assign():
                self.state.last = None
                self._watch(self.state)
            for event in self._pool.events(WAIT_SECONDS):
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
        except IdentityError as error:
            self._fail(order, str(error))
        else:
            self.state.done += 1
            self.state.last = (order, record)

    def _fail(self, order: RunOrder, error: str, traceback: str = "") -> None:
        self._results.save_failure(order, error, traceback)
        self.state.failed.append((order, error))
        self.state.last = (order, error)


def _cheapest(pending: Sequence[RunOrder], last: RunOrder | None, others: Sequence[RunOrder]) -> RunOrder:
    """Returns the order that a worker begins with the least work: an experiment it has open, else SAEs it has loaded.

    A worker that has to open an experiment takes one that no other worker has, if there is one.
    """
    taken = {order.opening_key for order in others}

    def cost(order: RunOrder) -> tuple[bool, bool, bool]:
        is_open = last is not None and last.opening_key == order.opening_key
        is_loaded = last is not None and last.loading_key == order.loading_key
        return (not is_open, not is_loaded, order.opening_key in taken)

    return min(pending, key=cost)
