"""Saves a job while a process works on it: every few seconds, and whenever it is asked to.

When the job's folder can no longer be written (a full disk), saving ends with one warning and the work goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from circuit_tui.core.errors import CheckpointError
from circuit_tui.core.jobs.job import Job
from circuit_tui.core.runtime.throttle import Throttle
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import SearchProgress

if TYPE_CHECKING:
    from pathlib import Path

SAVE_EVERY = 2.0
"""Seconds between two saves: a kill costs no more than this and one step."""
REPORT_EVERY = 0.5
"""Seconds between two reports of progress in the folder."""


class SavedSearch(Protocol):
    """What is needed of a search."""

    def keep(self, folder: Path) -> None:
        """Keeps in `folder` what the search needs to go on, and goes on from what is there."""

    def save(self) -> None:
        """Saves everything up to here."""


class SavedSession(Protocol):
    """What is needed of a session: plain JSON values."""

    def state(self) -> dict[str, Any]:
        """Returns all that the user has done."""

    def fingerprint(self) -> dict[str, Any]:
        """Returns what is open."""


class Autosave:
    """Saves one job. All of it runs in the thread that owns the session."""

    def __init__(self, job: Job, warn: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self.job = job
        self._warn, self._broken = warn, False
        self._search: SavedSearch | None = None
        self._saving, self._reporting = Throttle(SAVE_EVERY, clock), Throttle(REPORT_EVERY, clock)
        self._stored: object = None

    def opened(self, session: SavedSession) -> None:
        """Notes what the session has opened.

        Raises:
            CheckpointError: the job was begun with other files than those that are there now. Where a file lies does
                not count.
        """
        from circuit_tui.core.opening.identity import differing  # slow: not before the first frame

        now = session.fingerprint()
        fields = differing(self.job.spec.subject or now, now)
        if fields:
            raise CheckpointError(
                f"the job {self.job.name} cannot go on: what it had opened has changed ({', '.join(fields)})"
            )
        self._try(lambda: self.job.change(subject=now))

    def begin(self, search: SavedSearch, spec: SearchSpec, *, again: bool = False) -> None:
        """Saves `search`, which is about to begin; with `again` it goes on from what is in the job's folder."""

        def begin() -> None:
            search.keep(self.job.begin_search(spec, again=again))
            self._search = search

        self._try(begin)
        self._saving.restart()

    def step(self, report: SearchProgress) -> None:
        """Takes in a step of the search, and saves if it is time."""
        if self._reporting.due():
            self._try(lambda: self.job.add_progress(report))
        if self._saving.due():
            self.save_search()

    def save_search(self) -> None:
        """Saves what the search has done so far."""
        self._saving.restart()
        if self._search is not None:
            self._try(self._search.save)

    def end(self) -> None:
        """Forgets the search, which has ended; what it found is safe elsewhere."""
        self._search = None
        self._try(self.job.end_search)

    def store(self, session: SavedSession, version: object) -> None:
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
