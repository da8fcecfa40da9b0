"""Runs the searches of an audit in processes of their own; no search depends on another."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from circuit_tui.core.audit.finding import AuditSearch, SearchRun
from circuit_tui.core.errors import UserError
from circuit_tui.core.workers.pool import WorkerPool
from circuit_tui.core.workers.scheduler import Ended, Scheduler

WAIT = 0.2
"""Seconds between two looks at a search that is waited for."""


class ParallelSearches:
    """Searches run by up to `jobs` workers of `pool`, while this process measures something else.

    Attributes:
        jobs: the largest number of workers.
    """

    def __init__(self, pool: WorkerPool[AuditSearch, SearchRun], jobs: int) -> None:
        self._pool, self.jobs = pool, jobs
        self._n_searches = 0
        self._scheduler: Scheduler[AuditSearch, SearchRun] = Scheduler((), pool, jobs)
        self._ended: dict[AuditSearch, Ended[AuditSearch, SearchRun]] = {}
        self._shares: dict[AuditSearch, float] = {}

    def begin(self, searches: Sequence[AuditSearch]) -> None:
        """Starts the first of `searches`; the others follow as workers become free."""
        self._n_searches = len(searches)
        self._scheduler = Scheduler(searches, self._pool, self.jobs)
        self.poll()

    def poll(self, seconds: float = 0.0) -> None:
        """Takes in what workers report and gives idle workers a search; waits up to `seconds` for a report."""
        if self._scheduler.finished:
            return
        self._scheduler.assign()
        for event in self._pool.events(seconds):
            ended = self._scheduler.handle(event)
            if ended is not None:
                self._ended[ended.order] = ended
        for busy in self._scheduler.busy.values():
            share = min(busy.step / max(busy.steps, 1), 1.0)
            # A search that has lost its worker begins again; the share that is reported never falls.
            self._shares[busy.order] = max(share, self._shares.get(busy.order, 0.0))
        self._scheduler.assign()

    @property
    def counts(self) -> tuple[int, int] | None:
        """(Finished searches, all searches); None before they begin."""
        return (len(self._ended), self._n_searches) if self._n_searches else None

    def share(self, search: AuditSearch) -> float:
        """Returns the share 0..1 of `search` that is done."""
        return 1.0 if search in self._ended else self._shares.get(search, 0.0)

    def run(self, search: AuditSearch) -> Generator[float, None, SearchRun]:
        """Waits for one of the searches and returns its run; yields the share of it that is done.

        Raises:
            UserError: the search cannot be made, or two workers died of it. It is raised once all other searches are
                over and kept.
            RuntimeError: the search failed by a mistake of the program.
        """
        while search not in self._ended:
            self.poll(WAIT)
            yield self.share(search)
        ended = self._ended[search]
        if ended.result is not None:
            return ended.result
        while not self._scheduler.finished:
            self.poll(WAIT)
            yield 1.0
        message = f"audit: the search {search.kind}, seed {search.seed}, draw {search.draw}: {ended.error}"
        if ended.traceback:
            error = RuntimeError(message)
            error.add_note(ended.traceback)
            raise error
        raise UserError(f"{message}; all else is kept: the same command goes on, with --jobs 1 in a single process")

    def close(self) -> None:
        """Ends the searches under way at once. A search that is made again goes on from where it was last stored."""
        self._pool.close()
