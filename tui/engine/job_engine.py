"""An engine that keeps its session and search in a job's folder, and follows searches that run in other processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from textual.message import Message

from circuit_tui.core.errors import UserError
from circuit_tui.core.jobs.autosave import SAVE_EVERY, Autosave
from circuit_tui.core.jobs.job import Job, new_job
from circuit_tui.core.jobs.spec import SearchOrder
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.tui.engine import commands as commands
from circuit_tui.tui.engine.engine import Engine
from circuit_tui.tui.engine.session_protocol import Opener, SessionLike
from circuit_tui.tui.engine.state import SearchPhase, SearchState


class KeptEngine(Engine):
    """Keeps `job`, which this process works on. Its folder is written by the engine's thread alone.

    Attributes:
        followed: the job of the search on the screen if that runs in another process.
    """

    def __init__(
        self, request: OpenRequest, opener: Opener, post: Callable[[Message], Any], log_hint: str, job: Job
    ) -> None:
        super().__init__(request, opener, post, log_hint)
        self.followed: Job | None = None
        self._stored_at = 0.0
        self._use(job)

    def _use(self, job: Job) -> None:
        self.job = job
        self._keeper = Autosave(job, lambda text: self._notice(text, "warning"))

    def take_up(self, job: Job) -> None:
        """Before `start`: goes on with `job`, which was cut off and is now this process's, in the place of its own."""
        self._request = job.spec.from_anywhere()
        self.job.remove()
        self._use(job)

    def open_that_of(self, job: Job) -> None:
        """Before `start`: opens what `job` has open."""
        self._request = job.spec.from_anywhere()
        self.job.change(request=self._request)

    # Everything below runs in the engine's thread.

    def _run(self) -> None:
        try:
            super()._run()
        finally:
            if self._session is not None:
                self._guard(lambda: self._keep(self._session))

    def _keep(self, session: SessionLike | None) -> None:
        """Stores all there is now."""
        assert session is not None
        self._stored_at = time.monotonic()
        circuit = self._state.circuit
        if circuit is not None:
            version = (circuit.version, circuit.snapshots, circuit.dirty)
            # Before the first edit there is nothing to store.
            if circuit.version or circuit.snapshots:
                self._keeper.store(session, version)
        self._keeper.save_search()

    def _open(self) -> SessionLike | None:
        session = super()._open()
        if session is not None:
            self._guard(lambda: self._opened(session))
        return session

    def _opened(self, session: SessionLike) -> None:
        spec, stored = self.job.spec, self.job.session
        try:
            self._keeper.opened(session)
        except UserError:
            self.job.release()
            self._use(new_job("explore", self._request, None, None))
            raise
        if stored is not None:
            session.restore(stored)
            self._publish(wake=True, circuit=session.view(), epoch=self._state.epoch + 1)
        if spec.order is not None:
            self._go_on(session, spec.order)

    def _go_on(self, session: SessionLike, order: SearchOrder) -> None:
        self._search = session.search(order.method, order.target, order.seed, order.settings)
        self._keeper.begin(self._search, order, again=True)
        for progress in self.job.progress():
            self._trace.add(progress)
        self._publish(wake=True, search=SearchState(phase="running", order=start_of(order)))

    def _patience(self) -> float | None:
        patience = super()._patience()
        if patience is None and self._session is not None:
            self._guard(lambda: self._keep(self._session))
        return patience

    @property
    def _searching(self) -> bool:
        return self._search is not None and super()._searching

    def _advance(self, session: SessionLike) -> None:
        super()._advance(session)
        if time.monotonic() - self._stored_at >= SAVE_EVERY:
            self._keep(session)

    def _step(self, session: SessionLike) -> None:
        before = self._state.search.progress
        try:
            super()._step(session)
        except BaseException:
            self._keeper.save_search()  # what it had done until then can be gone on from
            raise
        after = self._state.search.progress
        if after is not None and after is not before:
            self._keeper.step(after)

    def _finish(self, session: SessionLike, search: Any) -> None:
        super()._finish(session, search)
        self._keep(session)
        self._keeper.end()

    def _start(self, session: SessionLike, order: commands.StartSearch) -> None:
        super()._start(session, order)
        self.followed = None
        assert self._search is not None
        kept = SearchOrder(order.method, order.target, order.seed, dict(order.settings))
        self._keeper.begin(self._search, kept)

    def _serve(self, session: SessionLike, command: commands.Command) -> None:
        match command:
            case commands.Follow():
                self._follow(command)
            case commands.Collect(job):
                self._collect(session, job)
            case commands.StopSearch() if self.followed is not None:
                self.followed.stop()
                self._publish(wake=True, search=replace(self._state.search, phase="stopping"))
            case commands.PauseSearch() if self.followed is not None:
                raise UserError("the search runs in the background: it cannot be paused, only stopped (S)")
            case _:
                super()._serve(session, command)

    def _follow(self, command: commands.Follow) -> None:
        if self._search is not None:
            return
        self.followed = command.job
        phase: SearchPhase = "stopping" if self._state.search.phase == "stopping" else "running"
        progress = command.trace[-1] if command.trace else None
        state = SearchState(phase=phase, order=command.order, progress=progress, trace=command.trace)
        self._publish(wake=False, search=state)

    def _collect(self, session: SessionLike, job: Job) -> None:
        self.followed = None
        state = job.state
        failed = state != "done"
        self._publish(wake=True, search=replace(self._state.search, phase="failed" if failed else "done"))
        if state == "unfinished":
            raise UserError("the search in the background was cut off; J goes on with it")
        if failed:
            why = job.error or f"see {job.log}"
            raise UserError(f"the search in the background ended without a circuit: {why}")
        session.open_circuit(job.circuit)
        self._work_left = True
        self._publish(wake=True, circuit=session.view(), epoch=self._state.epoch + 1)
        job.mark_seen()
        self._notice(f"The search in the background has ended; its circuit is in {job.spec.out or job.circuit}")


def start_of(order: SearchOrder) -> commands.StartSearch:
    """The order as the screen gives it."""
    return commands.StartSearch(order.method, order.target, order.seed, tuple(order.settings.items()))
