"""A process that makes searches for an audit: it opens what the audit has open once, and keeps what the audit keeps."""

from __future__ import annotations

from circuit_tui.core.audit.audit_log import SearchLog
from circuit_tui.core.audit.beside import SearchEnvironment
from circuit_tui.core.audit.finding import AuditSearch, SearchRun
from circuit_tui.core.audit.searches import Searcher
from circuit_tui.core.errors import UserError
from circuit_tui.core.jobs.resumable_work import ResumableWork
from circuit_tui.core.opening.open_problem import open_problem
from circuit_tui.core.session.session import Session
from circuit_tui.core.workers.pool import ReportSteps

PARTS = 1000
"""How finely a worker tells what share of a search is done."""


class SearchWorker:
    """Makes searches, one after the other, at `place`, which it opens for the first of them."""

    def __init__(self, place: SearchEnvironment) -> None:
        self._place = place
        self._searcher: Searcher | None = None
        self._kept = SearchLog(ResumableWork(place.folder))

    def __call__(self, order: AuditSearch, report: ReportSteps) -> SearchRun:
        """Makes the search `order`.

        Raises:
            UserError: what is there now is not what the audit has open.
        """
        if self._searcher is None:
            self._searcher = self._opened()
        steps, done = self._searcher.run(order, self._kept), 0
        while True:
            report(done, PARTS)
            try:
                share = next(steps)
            except StopIteration as end:
                run: SearchRun = end.value
                return run
            done = done if share is None else round(share * PARTS)

    def _opened(self) -> Searcher:
        place = self._place
        session = Session(open_problem(place.request, lambda stage: None, place.file))
        if session.subject() != place.opened:
            raise UserError("model, SAEs or prompts have changed since the audit was begun")
        return Searcher(session.problem, session.train, session.test, place.used, place.quick)
