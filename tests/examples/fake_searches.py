"""Work for processes that make an audit's searches which needs no model: it does what a file says.

The file is named by the search. Each begin is written to the file ``begun`` of the folder: what was done how often, and
by whom.
"""

from __future__ import annotations

from pathlib import Path

from misbehaving import die_or_wait, note

from circuit_tui.core.audit.finding import AuditSearch, SearchRun
from circuit_tui.core.errors import UserError
from circuit_tui.core.workers.pool import ReportSteps


def run_of(search: AuditSearch) -> SearchRun:
    """A run with numbers that follow from the draw."""
    nodes = tuple(range(search.draw))
    return SearchRun(search.kind, search.seed, search.draw, len(nodes), 0.9, 0.8, True, nodes)


class FakeSearches:
    """See the module. A search is plain, or has a file that says fail, crash, die, or wait: until ``go`` is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, order: AuditSearch, report: ReportSteps) -> SearchRun:
        note(self.folder, order.id)
        told = self.folder / order.id
        behave = told.read_text() if told.exists() else "plain"
        report(1, 4)
        if behave == "fail":
            raise UserError("the disk is gone")
        if behave == "crash":
            raise ZeroDivisionError("boom")
        die_or_wait(behave, self.folder, report, 4)
        return run_of(order)
