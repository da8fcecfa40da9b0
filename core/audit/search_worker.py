"""The worker that makes searches for an audit. It opens the audit's experiment once, and keeps what the audit keeps."""

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

PROGRESS_STEPS = 1000
"""The steps into which a worker divides a search when it reports progress."""


@dataclass(frozen=True, slots=True)
class SearchEnvironment:
    """What a worker opens, and how it searches.

    Attributes:
        request, file: what to open, and the file of the audited circuit.
        identity: the audit's experiment (`fingerprint`), which the worker must have opened too.
        spec: how to search; the seed is that of each search.
        quick: whether to search on few prompts.
        folder: where the audit keeps its searches, None if it does not.
    """

    request: OpenRequest
    file: CircuitFile
    identity: Mapping[str, Any]
    spec: SearchSpec
    quick: bool
    folder: Path | None


class SearchWorker:
    """Makes one search after another in `environment`, which it opens for the first of them."""

    def __init__(self, environment: SearchEnvironment) -> None:
        self._environment = environment
        self._searcher: Searcher | None = None
        self._log = SearchLog(ResumableWork(environment.folder))

    def __call__(self, order: AuditSearch, report: ReportSteps) -> SearchRun:
        """Makes the search `order`.

        Raises:
            UserError: model, SAEs or prompts are no longer those that the audit has open.
        """
        if self._searcher is None:
            self._searcher = self._open()
        steps, done = self._searcher.run(order, self._log), 0
        while True:
            report(done, PROGRESS_STEPS)
            try:
                share = next(steps)
            except StopIteration as end:
                run: SearchRun = end.value
                return run
            done = done if share is None else round(share * PROGRESS_STEPS)

    def _open(self) -> Searcher:
        environment = self._environment
        experiment = open_experiment(environment.request, circuit=environment.file)
        if fingerprint(experiment) != environment.identity:
            raise UserError("model, SAEs or prompts have changed since the audit was begun")
        return Searcher(experiment.problem, experiment.train, experiment.test, environment.spec, environment.quick)
