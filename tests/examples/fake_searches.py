"""Work for processes that make an audit's searches which needs no model: it does what a file says.

The file is named by the search. Each begin is written to the file ``begun`` of the folder: what was done how often, and
by whom.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from circuit_tui.core.audit.finding import AuditSearch, SearchRun
from circuit_tui.core.errors import UserError
from circuit_tui.core.runs.crew import Tell


def run_of(search: AuditSearch) -> SearchRun:
    """A run with numbers that follow from the draw."""
    nodes = tuple(range(search.draw))
    return SearchRun(search.kind, search.seed, search.draw, len(nodes), 0.9, 0.8, True, nodes)


class FakeSearches:
    """See the module. A search is plain, or has a file that says fail, crash, die, or wait: until ``go`` is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, order: AuditSearch, tell: Tell) -> SearchRun:
        with (self.folder / "begun").open("a") as log:
            log.write(f"{order.id} {os.getpid()}\n")
        told = self.folder / order.id
        behave = told.read_text() if told.exists() else "plain"
        tell(1, 4)
        if behave == "fail":
            raise UserError("the disk is gone")
        if behave == "crash":
            raise ZeroDivisionError("boom")
        if behave == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        while behave == "wait" and not (self.folder / "go").exists():
            time.sleep(0.02)
            tell(2, 4)
        return run_of(order)


def begun(folder: Path) -> list[tuple[str, int]]:
    """The (search, process) of every search that was begun."""
    path = folder / "begun"
    rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(name, int(pid)) for name, pid in rows]
