"""Keeps a job's folder up to date while a process works on it: every few seconds, and whenever it is asked to.

A folder that can no longer be written (a full disk) ends the keeping with one warning, not the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from circuit_tui.core.errors import UserError
from circuit_tui.core.jobs.job import Job
from circuit_tui.core.runtime.throttle import Throttle
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import SearchProgress

if TYPE_CHECKING:
    from pathlib import Path

SAVE_EVERY = 2.0
"""Seconds of work that a kill can cost at most, and one step."""
REPORT_EVERY = 0.5


class KeptSearch(Protocol):
    """What is needed of a search."""

    def keep(self, folder: Path) -> None:
        """Keeps in `folder` what it needs to go on, and goes on with what is there."""

    def save(self) -> None:
        """Everything up to here outlives this process."""


class KeptSession(Protocol):
    """What is needed of a session. Both are plain JSON values."""

    def state(self) -> dict[str, Any]:
        """All that the user has done."""

    def subject(self) -> dict[str, Any]:
        """What is open."""


class Autosave:
    """Keeps one job. All of it runs in the thread that owns the session."""

    def __init__(self, job: Job, warn: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self.job = job
        self._warn, self._broken = warn, False
        self._search: KeptSearch | None = None
        self._saving, self._reporting = Throttle(SAVE_EVERY, clock), Throttle(REPORT_EVERY, clock)
        self._stored: object = None

    def opened(self, session: KeptSession) -> None:
        """The session is open.

        Raises:
            UserError: the job was begun with other files than those that are now there.
        """
        before, now = self.job.spec.subject, session.subject()
        if before is not None and before != now:
            fields = ", ".join(name for name in now if before.get(name) != now[name])
            raise UserError(f"the job {self.job.name} cannot go on: what it had opened has changed ({fields})")
        self._try(lambda: self.job.change(subject=now))

    def begin(self, search: KeptSearch, order: SearchSpec, *, again: bool = False) -> None:
        """A search is about to begin; `again`: it goes on with what is in the job's folder."""

        def begin() -> None:
            search.keep(self.job.begin_search(order, again=again))
            self._search = search

        self._try(begin)
        self._saving.restart()

    def step(self, report: SearchProgress) -> None:
        """The search has made a step."""
        if self._reporting.due():
            self._try(lambda: self.job.add_progress(report))
        if self._saving.due():
            self.save_search()

    def save_search(self) -> None:
        """Whatever the search has done so far outlives this process."""
        self._saving.restart()
        if self._search is not None:
            self._try(self._search.save)

    def end(self) -> None:
        """The search has come to its end, and what it found is safe elsewhere."""
        self._search = None
        self._try(self.job.end_search)

    def store(self, session: KeptSession, version: object) -> None:
        """Stores the session, unless it was stored with the same `version` before."""
        if version != self._stored:
            self._stored = version
            self._try(lambda: self.job.store_session(session.state()))

    def _try(self, write: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            write()
        except OSError as error:
            self._broken = True
            self._search = None
            self._warn(f"nothing more is kept for a restart: {self.job.folder}: {error.strerror or error}")
