"""A process that makes searches for an audit: it opens what the audit has open once, and keeps what the audit keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit_tui.core.audit.audit_log import SearchLog
from circuit_tui.core.audit.finding import AuditSearch, SearchRun
from circuit_tui.core.audit.searches import Searcher
from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.errors import UserError
from circuit_tui.core.jobs.resumable_work import ResumableWork
from circuit_tui.core.opening.experiment import open_experiment
from circuit_tui.core.opening.identity import fingerprint
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.workers.pool import ReportSteps

PARTS = 1000
"""How finely a worker tells what share of a search is done."""


@dataclass(frozen=True, slots=True)
class SearchEnvironment:
    """What a search worker opens: `request` with its circuit's `file`, which must be `opened` (`fingerprint`).

    `used` is how searches are made, on few prompts if `quick`. `folder` is where the audit keeps them, None if it does
    not.
    """

    request: OpenRequest
    file: CircuitFile
    opened: Mapping[str, Any]
    used: SearchSpec
    quick: bool
    folder: Path | None


class SearchWorker:
    """Makes searches, one after the other, in `environment`, which it opens for the first of them."""

    def __init__(self, environment: SearchEnvironment) -> None:
        self._environment = environment
        self._searcher: Searcher | None = None
        self._kept = SearchLog(ResumableWork(environment.folder))

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
        environment = self._environment
        experiment = open_experiment(environment.request, circuit=environment.file)
        if fingerprint(experiment) != environment.opened:
            raise UserError("model, SAEs or prompts have changed since the audit was begun")
        return Searcher(experiment.problem, experiment.train, experiment.test, environment.used, environment.quick)
