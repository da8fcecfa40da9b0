"""The searches of an audit in processes of their own: they do not depend on each other."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from circuit_tui.core.audit.finding import AuditSearch, SearchRun
from circuit_tui.core.errors import UserError
from circuit_tui.core.workers.pool import WorkerPool
from circuit_tui.core.workers.scheduler import Ended, Scheduler

WAIT = 0.2
"""Seconds between two looks at searches that are waited for."""


class ParallelSearches:
    """Searches given to up to `jobs` workers of `pool`. They go on while this process measures something else.

    Attributes:
        jobs: how many workers there are at most.
    """

    def __init__(self, pool: WorkerPool[AuditSearch, SearchRun], jobs: int) -> None:
        self._pool, self.jobs = pool, jobs
        self._begun = 0
        self._scheduler: Scheduler[AuditSearch, SearchRun] = Scheduler((), pool, jobs)
        self._ended: dict[AuditSearch, Ended[AuditSearch, SearchRun]] = {}
        self._shares: dict[AuditSearch, float] = {}

    def begin(self, searches: Sequence[AuditSearch]) -> None:
        """Starts the first of `searches`; the others follow as workers become free."""
        self._begun = len(searches)
        self._scheduler = Scheduler(searches, self._pool, self.jobs)
        self.attend()

    def attend(self, seconds: float = 0.0) -> None:
        """Takes what workers report, and gives the idle something to do; waits up to so long for a report."""
        if self._scheduler.finished:
            return
        self._scheduler.assign()
        for event in self._pool.events(seconds):
            ended = self._scheduler.handle(event)
            if ended is not None:
                self._ended[ended.order] = ended
        for busy in self._scheduler.busy.values():
            share = min(busy.step / max(busy.steps, 1), 1.0)
            # A search that has lost its worker begins again; what is told of it only grows.
            self._shares[busy.order] = max(share, self._shares.get(busy.order, 0.0))
        self._scheduler.assign()

    @property
    def counts(self) -> tuple[int, int] | None:
        """How many searches are over, of how many; None before they begin."""
        return (len(self._ended), self._begun) if self._begun else None

    def share(self, search: AuditSearch) -> float:
        """How much of `search` is done, 0..1."""
        return 1.0 if search in self._ended else self._shares.get(search, 0.0)

    def run(self, search: AuditSearch) -> Generator[float, None, SearchRun]:
        """Waits for one of the searches begun. Yields the share of it that is done.

        Raises:
            UserError: it cannot be made, or has taken two workers with it. Only told when all others are over: they
                are kept.
            RuntimeError: the program made a mistake in it.
        """
        while search not in self._ended:
            self.attend(WAIT)
            yield self.share(search)
        ended = self._ended[search]
        if ended.result is not None:
            return ended.result
        while not self._scheduler.finished:
            self.attend(WAIT)
            yield 1.0
        what = f"audit: the search {search.kind}, seed {search.seed}, draw {search.draw}: {ended.error}"
        if ended.traceback:
            mistake = RuntimeError(what)
            mistake.add_note(ended.traceback)
            raise mistake
        raise UserError(f"{what}; all else is kept: the same command goes on, with --jobs 1 in a single process")

    def close(self) -> None:
        """Ends what is under way at once. Each search goes on from where it was last stored, when it is made again."""
        self._pool.close()
