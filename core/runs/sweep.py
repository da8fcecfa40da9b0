"""Gives the runs of a sweep to workers and writes down what comes back, until all are done.

Only this process writes results, each run in one transaction; so a run is in the file whole or not at all, and once.
A run whose worker dies is given to another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from circuit_tui.core.runs.crew import Crew, Done, Event, Failed, Lost, Step
from circuit_tui.core.runs.order import RunOrder
from circuit_tui.core.runs.record import RunRecord
from circuit_tui.core.runs.results_file import ResultsFile, SubjectError

MAX_LOSSES = 2
"""A run that has taken so many workers with it (memory, say) has failed."""
WAIT = 0.5


@dataclass(slots=True)
class Busy:
    """What a worker is at: its order and how many steps of how many it has made."""

    order: RunOrder
    step: int = 0
    steps: int = 0


@dataclass(slots=True)
class SweepState:
    """How far a sweep is. `found` were finished before it began; `busy` is what each worker is at."""

    total: int
    found: int
    done: int = 0
    failed: list[tuple[RunOrder, str]] = field(default_factory=list)
    busy: dict[int, Busy] = field(default_factory=dict)
    last: tuple[RunOrder, RunRecord | str] | None = None


Watch = Callable[[SweepState], None]


class Sweep:
    """Does all of `orders` that are not finished in `results`, with up to `jobs` workers of `crew` at once.

    `watch` sees every change; `last` is then the run that just ended, with its record or its error.
    """

    def __init__(self, orders: Sequence[RunOrder], results: ResultsFile, crew: Crew, jobs: int, watch: Watch) -> None:
        self._results, self._crew, self._jobs, self._watch = results, crew, jobs, watch
        finished = results.done()
        self._pending = [order for order in orders if order.id not in finished]
        self._idle: dict[int, RunOrder | None] = {}
        self._losses: dict[str, int] = {}
        self.state = SweepState(len(orders), len(orders) - len(self._pending))

    def run(self) -> SweepState:
        """Works until nothing is left to do."""
        self._watch(self.state)
        while self._pending or self.state.busy:
            if self._give_out():
                self.state.last = None
                self._watch(self.state)
            for event in self._crew.events(WAIT):
                self.state.last = None
                self._take(event)
                self._watch(self.state)
        return self.state

    def _give_out(self) -> bool:
        """Gives the idle something to do, and tells whether there was anything; hires and dismisses as needed."""
        gave = False
        while self._pending and (self._idle or len(self.state.busy) < self._jobs):
            worker, before = self._idle.popitem() if self._idle else (self._crew.hire(), None)
            order = _next(self._pending, before, [busy.order for busy in self.state.busy.values()])
            self._pending.remove(order)
            self.state.busy[worker] = Busy(order)
            self._crew.give(worker, order)
            gave = True
        while self._idle:  # on a shared machine others may be waiting for the place
            self._crew.dismiss(self._idle.popitem()[0])
        return gave

    def _take(self, event: Event) -> None:
        if isinstance(event, Step):
            busy = self.state.busy[event.worker]
            busy.step, busy.steps = event.step, event.steps
            return
        if event.worker not in self.state.busy:  # lost, but it had nothing to do
            self._idle.pop(event.worker, None)
            return
        order = self.state.busy.pop(event.worker).order
        match event:
            case Done(worker, text):
                self._idle[worker] = order
                self._save(order, RunRecord.model_validate_json(text))
            case Failed(worker, error, traceback):
                self._idle[worker] = order
                self._fail(order, error, traceback)
            case Lost(_, reason):
                self._losses[order.id] = self._losses.get(order.id, 0) + 1
                if self._losses[order.id] < MAX_LOSSES:
                    self._pending.insert(0, order)
                else:
                    self._fail(order, f"{reason}, {MAX_LOSSES} times")

    def _save(self, order: RunOrder, record: RunRecord) -> None:
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
