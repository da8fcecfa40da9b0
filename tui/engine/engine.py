"""What the one thread that owns torch does: it opens the session, serves commands and searches.

Between two steps of a search every waiting command is served, so that a toggle never waits longer than one step.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from textual.message import Message

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.runtime.out_of_memory import describe_error
from circuit_tui.core.views import LoadProgress
from circuit_tui.tui.engine import commands as commands
from circuit_tui.tui.engine.commands import Command, latest_wins
from circuit_tui.tui.engine.messages import Exported
from circuit_tui.tui.engine.search_trace import SearchTrace
from circuit_tui.tui.engine.session_protocol import Opener, SearchLike, SessionLike
from circuit_tui.tui.engine.state import SearchPhase, SearchState
from circuit_tui.tui.engine.thread import EngineThread
from circuit_tui.tui.often import Throttle

log = logging.getLogger("circuit_tui")

FRONTIER_EVERY = 0.25  # seconds between two looks at what a search has found: as often as its charts are drawn
MEMORY_EVERY = 1.0  # seconds between two looks at how full the device is
WORK_EVERY = 8  # turns: during a search one in so many goes to background work
QUIET = 0.1  # seconds after an edit without background work: the screen is drawn then, and often another edit follows


class _Stopped(BaseException):
    """Raised inside a loading callback to leave early; no exception that a loader may take for its own."""


class Engine(EngineThread):
    """Owns the session."""

    def __init__(self, request: OpenRequest, opener: Opener, post: Callable[[Message], Any], log_hint: str) -> None:
        super().__init__(post, log_hint)
        self._request, self._opener = request, opener
        self._session: SessionLike | None = None
        self._search: SearchLike | None = None
        self._trace = SearchTrace()
        self._frontier_due, self._memory_due = Throttle(FRONTIER_EVERY), Throttle(MEMORY_EVERY)
        self._turns = 0
        self._work_left = False
        self._quiet_until = 0.0

    def _run(self) -> None:
        try:
            session = self._open()
        except _Stopped:
            return
        if session is None:
            self._refuse_commands()
            return
        while not self._stop.is_set():
            for command in latest_wins(self._waiting()):
                if self._stop.is_set():
                    return
                self._guard(lambda command=command: self._serve(session, command))  # type: ignore[misc]
            if self._stop.is_set():
                return
            self._guard(lambda: self._advance(session))

    def _open(self) -> SessionLike | None:
        def progress(stage: LoadProgress) -> None:
            if self._stop.is_set():
                raise _Stopped
            self._publish(wake=True, load=stage)

        try:
            session, methods = self._opener(self._request, progress)
            view = session.view()
        except _Stopped:
            raise
        except UserError as error:
            self._publish(wake=True, phase="failed", error=str(error))
        except Exception as error:
            log.exception("opening failed")
            self._publish(wake=True, phase="failed", error=f"{describe_error(error)} (details: {self._log_hint})")
        else:
            self._session, self._work_left = session, True
            self._publish(
                wake=True, phase="ready", table=session.table, info=session.info, methods=methods, circuit=view
            )
            return session
        return None

    def _publish(self, *, wake: bool, **changes: Any) -> None:
        if self._session is not None and "circuit" in changes:
            changes["audit"] = self._session.audit_view()
        super()._publish(wake=wake, **changes)

    @property
    def _searching(self) -> bool:
        return self._state.search.phase in ("running", "stopping")

    def _patience(self) -> float | None:
        """Seconds to wait for a command before going on with something else; None if there is nothing else."""
        if self._searching:
            return 0
        return max(0.0, self._quiet_until - time.monotonic()) if self._work_left else None

    def _advance(self, session: SessionLike) -> None:
        """One step of the search, or one slice of background work; never both, for a command may be waiting."""
        self._turns += 1
        if self._memory_due() and (memory := session.memory_use()) != self._state.memory:
            self._publish(wake=False, memory=memory)
        estimated = self._state.circuit is not None and self._state.circuit.estimated
        work = self._work_left and time.monotonic() >= self._quiet_until
        if self._searching and not (work and (estimated or self._turns % WORK_EVERY == 0)):
            self._step(session)
        elif work:
            try:
                left = session.work()
                view = session.view()
            except BaseException:
                self._work_left = False  # or it would fail again at once, for ever
                raise
            self._publish(wake=not left or view.estimated != estimated, circuit=view)
            self._work_left = left

    def _step(self, session: SessionLike) -> None:
        search = self._search
        assert search is not None
        try:
            progress = next(search)
        except StopIteration:
            self._search = None
            self._finish(session, search)
            return
        except BaseException:
            self._search = None
            self._publish(wake=True, search=replace(self._state.search, phase="failed"))
            raise
        self._trace.add(progress)
        trace, rate = self._trace.points(), self._trace.rate.per_second
        state = replace(self._state.search, progress=progress, trace=trace, rate=rate)
        if self._frontier_due():
            state = replace(state, frontier=session.frontier())
        self._publish(wake=False, search=state)

    def _finish(self, session: SessionLike, search: SearchLike) -> None:
        result = search.result
        if result is None:
            self._publish(wake=True, search=replace(self._state.search, phase="failed"))
            self._notice("The search ended without a circuit.", "warning")
            return
        session.adopt(result)
        self._work_left = True
        trace, frontier = self._trace.points(), session.frontier()
        state = replace(self._state.search, phase="done", result=result, trace=trace, frontier=frontier)
        self._publish(wake=True, search=state, circuit=session.view(), epoch=self._state.epoch + 1)

    def _serve(self, session: SessionLike, command: Command) -> None:
        if isinstance(command, commands.Edit):
            self._edit(session, command)
            return
        match command:
            case commands.SaveSnapshot(name):
                session.save_snapshot(name)
                self._publish(wake=True, circuit=session.view())
                self._notice(f"Snapshot “{name}” saved; c compares with it.")
            case commands.CompareSnapshot(name):
                self._publish(wake=True, comparison=session.compare(name))
            case commands.StartSearch():
                self._start(session, command)
            case commands.PauseSearch() | commands.StopSearch():
                self._hold(session, command)
            case commands.StartAudit(text, full):
                session.start_audit(text, full=full)
                self._work_left = True
                self._publish(wake=True, circuit=session.view())
            case commands.StopAudit():
                session.stop_audit()
                self._publish(wake=True, circuit=session.view())
            case commands.ShowLatent(site, latent):
                self._publish(wake=True, latent=session.latent_view(site, latent))
            case commands.ShowPrompts():
                self._publish(wake=True, prompts=session.prompts_view())
            case commands.ShowPrompt(index):
                version = session.view().version
                self._publish(wake=True, prompt=session.prompt_view(index), prompt_version=version)
            case commands.Export(path):
                written = session.export(path)
                self._publish(wake=True, circuit=session.view())
                self._post(Exported(written))

    def _edit(self, session: SessionLike, edit: commands.Edit) -> None:
        commands.apply_edit(session, edit)
        view, whole = session.view(), isinstance(edit, commands.REPLACING)
        self._work_left, self._quiet_until = True, 0.0 if view.estimated else time.monotonic() + QUIET
        self._publish(wake=True, circuit=view, epoch=self._state.epoch + whole)

    def _start(self, session: SessionLike, order: commands.StartSearch) -> None:
        if self._state.search.live:
            raise UserError("a search is under way; stop it first (S)")
        self._search = session.search(order.method, order.target, order.seed, dict(order.settings))
        self._trace = SearchTrace()
        self._publish(wake=True, search=SearchState(phase="running", order=order))

    def _hold(self, session: SessionLike, command: commands.PauseSearch | commands.StopSearch) -> None:
        search = self._state.search
        if self._search is None or not search.live:
            raise UserError("no search is under way; s starts one")
        if isinstance(command, commands.StopSearch):
            self._search.stop()
            self._publish(wake=True, search=replace(search, phase="stopping"))
        elif search.phase != "stopping":
            phase: SearchPhase = "paused" if search.phase == "running" else "running"
            self._publish(wake=True, search=replace(search, phase=phase, frontier=session.frontier()))
