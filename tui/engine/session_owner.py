"""The part of the engine that opens sessions, and keeps their work for a restart."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.message import Message
from typing_extensions import override

from circuit_tui.core.errors import UserError
from circuit_tui.core.jobs.job import Job
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.runtime.out_of_memory import describe_error, free_cached
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import LoadProgress
from circuit_tui.tui.engine import commands
from circuit_tui.tui.engine.job_autosave import JobAutosave
from circuit_tui.tui.engine.messages import OpenedAnother
from circuit_tui.tui.engine.session_protocol import Opened, Opener, SearchLike, SessionLike
from circuit_tui.tui.engine.state import EngineState, SearchState
from circuit_tui.tui.engine.thread import EngineThread

if TYPE_CHECKING:
    from circuit_tui.core.session.aside import Aside

log = logging.getLogger("circuit_tui")


class OpeningFailed(Exception):
    """Nothing was opened; the message is a line for the user."""


class _Stopped(BaseException):
    """Raised in the loading callback to leave early. Not an `Exception`, which a loader might catch as its own."""


class SessionOwner(EngineThread):
    """Owns the session.

    Attributes:
        request: what is open, or is being opened.
        autosave: keeps the work in a job's folder; None where it is not kept.
        followed: the job whose search is on the screen, if that search runs in another process.
    """

    def __init__(
        self,
        request: OpenRequest,
        opener: Opener,
        post: Callable[[Message], object],
        log_hint: str,
        job: Job | None = None,
    ) -> None:
        super().__init__(post, log_hint)
        self.request, self._opener = request, opener
        self.autosave = None if job is None else JobAutosave(job, lambda text: self._notice(text, "warning"))
        self.followed: Job | None = None
        self._session: SessionLike | None = None
        self._search: SearchLike | None = None
        self._work_left = False
        self._begin_anew()

    @abstractmethod
    def _turn(self) -> None:
        """Serve what waits, then make one step of anything else."""

    @abstractmethod
    def _begin_anew(self) -> None:
        """Set what is about one session alone, as before the first."""

    @abstractmethod
    def _go_on(self, session: SessionLike, spec: SearchSpec, job: Job) -> SearchLike:
        """Return the search that `job` was cut off in, ready to go on."""

    @override
    def _run(self) -> None:
        try:
            self._take(self._open(self.request))
        except _Stopped:
            return
        except OpeningFailed as error:
            self._publish(wake=True, phase="failed", error=str(error))
        if self._session is not None:
            self._guard(self._restore)
        try:
            while not self._stop.is_set():
                self._turn()
        except _Stopped:
            pass
        finally:
            self._guard(self._store)

    def _open(self, request: OpenRequest) -> Opened:
        """Open a session. Raises OpeningFailed with a line for the user, or `_Stopped` on `stop`."""

        def progress(stage: LoadProgress) -> None:
            if self._stop.is_set():
                raise _Stopped
            self._publish(wake=True, load=stage)

        try:
            opened = self._opener(request, progress)
            opened[0].view()
        except UserError as error:
            raise OpeningFailed(str(error)) from error
        except Exception as error:
            log.exception("opening failed")
            raise OpeningFailed(f"{describe_error(error)} (details: {self._log_hint})") from error
        return opened

    def _take(self, opened: Opened) -> None:
        """Make what was opened the session, and show it instead of anything before."""
        session, methods = opened
        view, subject = session.view(), session.fingerprint()
        self._session, self._work_left = session, True
        self._search = self.followed = None
        self._begin_anew()
        self._state = EngineState(load=self._state.load, opened=self._state.opened + 1, fingerprint=subject)
        self._publish(wake=True, phase="ready", table=session.table, info=session.info, methods=methods, circuit=view)

    def _open_another(self, command: commands.OpenAnother) -> None:
        """Open another session in place of this one; if that fails, this one is there again.

        On a device of its own the memory of this one is freed first. A session that has to be opened again for that is
        as it was, but for its searches.
        """
        state, aside = self._state, None
        self._guard(self._store)
        if self._session is not None and not self._session.info.device.startswith("cpu"):
            from circuit_tui.core.session.aside import put_aside  # torch

            aside = put_aside(self._session)
            self._session = self._search = None
            free_cached()
        self._publish(wake=True, phase="loading", load=None)
        try:
            self._take(self._open(command.request))
        except OpeningFailed as error:
            self._put_back(state, aside, str(error))
        else:
            free_cached()  # of the session before
            self.request = command.request
            if self.autosave is not None:
                self._guard(partial(self._another_job, command))
            self._post(OpenedAnother())
        self._drop_waiting()

    def _put_back(self, state: EngineState, aside: Aside | None, error: str) -> None:
        """Show again what was there before an opening that failed with `error`."""
        if aside is None:
            self._state = replace(state, phase="failed" if self._session is None else "ready")
            self._publish(wake=True)
            self._notice(error, "error")
            return
        try:
            session, methods = self._open(self.request)
        except OpeningFailed as second:
            both = f"{error}; what was open could not be opened again: {second}"
            self._publish(wake=True, phase="failed", error=both)
            return
        from circuit_tui.core.session.aside import take_back

        take_back(session, aside)
        opened = self._state.opened
        self._take((session, methods))
        self._state = replace(self._state, opened=opened)
        self._guard(self._restore)
        self._publish(wake=True)
        self._notice(f"{error}; what was open is there again, without the frontier of its search", "error")

    def _another_job(self, command: commands.OpenAnother) -> None:
        """Keep the new session's work in a job of its own; that of the old one goes on in the background or ends."""
        assert self.autosave is not None
        assert self._session is not None
        self.autosave.start_over(command.request, leave_running=command.leave_running)
        self.autosave.opened(self._session, command.request)

    def _restore(self) -> None:
        """Go on with the edits and the search that the job holds, if it was cut off before."""
        session = self._session
        if self.autosave is None or session is None:
            return
        stored, spec = self.autosave.opened(session, self.request)
        if stored is not None:
            session.restore(stored)
            self._publish(wake=True, circuit=session.view(), epoch=self._state.epoch + 1)
        if spec is not None:
            self._search = self._go_on(session, spec, self.autosave.job)
            self.autosave.begin(self._search, spec, again=True)
            self._publish(wake=True, search=SearchState(phase="running", spec=spec))

    def _store(self) -> None:
        if self.autosave is not None and self._session is not None:
            self.autosave.store(self._session, self._state.circuit)

    @override
    def _publish(self, *, wake: bool, **changes: Any) -> None:
        if self._session is not None and "circuit" in changes:
            changes["audit"] = self._session.audit_view()
            changes["latent_columns"] = self._session.latent_columns()
            changes["annotations"], changes["groups"] = self._session.annotations, self._session.groups()
            changes["explanation"] = self._session.explanation()
            changes["edges"] = self._session.edges.view()
            changes["intervals"] = self._session.searches.intervals()
            changes["past"] = self._session.searches.past
            before = self._state.circuit
            if before is not None and before.version != changes["circuit"].version:
                changes["latent_prompts"] = None  # they are those of the circuit before
        super()._publish(wake=wake, **changes)
