"""Keeps an engine's session and search in a job's folder, so that another process can go on with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from circuit_tui.core.errors import CheckpointError
from circuit_tui.core.jobs.autosave import SAVE_EVERY, Autosave
from circuit_tui.core.jobs.job import Job, new_job
from circuit_tui.core.runtime.throttle import Throttle
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.tui.detached import start_detached

if TYPE_CHECKING:
    from circuit_tui.core.opening.request import OpenRequest
    from circuit_tui.core.views import CircuitView, SearchProgress
    from circuit_tui.tui.engine.session_protocol import SearchLike, SessionLike


class JobAutosave:
    """Keeps `job`, which this process works on.

    All methods but `continue_job` run in the engine's thread: it alone writes the folder. `warn` shows a line to the
    user.
    """

    def __init__(self, job: Job, warn: Callable[[str], object]) -> None:
        self._warn = warn
        self._throttle = Throttle(SAVE_EVERY)
        self._use(job)

    def _use(self, job: Job) -> None:
        self.job = job
        self._autosave = Autosave(job, self._warn)

    def continue_job(self, job: Job) -> None:
        """Go on with `job`, which was cut off; the present job is removed. Only before the engine starts."""
        self.job.remove()
        self._use(job)

    def start_over(self, request: OpenRequest, *, leave_running: bool) -> None:
        """Something else is open: keep it in a new job. The old one ends, or its search goes on in the background.

        Raises:
            OSError: the new job's folder cannot be made; the old one is kept.
        """
        old, new = self.job, new_job("explore", request, None, None)
        self._use(new)
        if leave_running:
            start_detached(old)
        else:
            old.remove()

    def opened(self, session: SessionLike, request: OpenRequest) -> tuple[dict[str, Any] | None, SearchSpec | None]:
        """Compare the opened `session` with the job's; return the job's stored session and search, None where absent.

        Raises:
            CheckpointError: the files that the job had opened have changed. It is left as it was; a new job takes its
                place.
        """
        spec, stored = self.job.spec, self.job.session
        try:
            self._autosave.opened(session)
        except CheckpointError as error:
            name = self.job.name
            self.job.release()
            self._use(new_job("explore", request, None, None))
            raise CheckpointError(f"{error}; `circuit-tui jobs --remove {name}` discards it") from error
        return stored, spec.search

    def begin(self, search: SearchLike, spec: SearchSpec, *, again: bool = False) -> None:
        """A search begins; `again`: it goes on from what the folder holds."""
        self._autosave.begin(search, spec, again=again)

    def step(self, progress: SearchProgress) -> None:
        """The search has made a step."""
        self._autosave.step(progress)

    def save_search(self) -> None:
        """Make what the search has done so far outlive this process."""
        self._autosave.save_search()

    def end(self) -> None:
        """The search has ended, and its circuit is stored."""
        self._autosave.end()

    def due(self) -> bool:
        """Whether `SAVE_EVERY` seconds have passed; if so, call `store`."""
        return self._throttle.due()

    def store(self, session: SessionLike, circuit: CircuitView | None) -> None:
        """Store the session, unless nothing in it has changed, and the search."""
        self._throttle.restart()
        # Before the first edit there is nothing to store.
        if circuit is not None and (circuit.version or circuit.snapshots):
            self._autosave.store(session, (circuit.version, circuit.snapshots, circuit.dirty))
        self._autosave.save_search()
