"""The engine: the one thread that owns torch. It opens the session, serves commands and runs searches.

Every waiting command is served between two steps of a search, so a toggle never waits longer than one step.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import partial

from typing_extensions import override

from circuit_tui.core.errors import CheckpointError, UserError
from circuit_tui.core.jobs.job import Job
from circuit_tui.core.outputs.file_kind import file_kind
from circuit_tui.core.outputs.output_file import ForeignFileError
from circuit_tui.core.runtime.throttle import Throttle
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.tui.engine import commands
from circuit_tui.tui.engine.commands import Command, latest_wins
from circuit_tui.tui.engine.messages import Exported, ForeignFile
from circuit_tui.tui.engine.search_trace import SearchTrace
from circuit_tui.tui.engine.session_owner import SessionOwner
from circuit_tui.tui.engine.session_protocol import SearchLike, SessionLike
from circuit_tui.tui.engine.state import SearchPhase, SearchState

log = logging.getLogger("circuit_tui")

FRONTIER_EVERY = 0.25  # seconds between two looks at a search's frontier: as often as its charts are drawn
MEMORY_EVERY = 1.0  # seconds between two looks at the device's memory
WORK_EVERY = 8  # during a search, one turn in so many goes to background work
QUIET = 0.1  # seconds without background work after an edit: the screen is drawn, and another edit often follows


class Engine(SessionOwner):
    """Serves commands, runs the search and does background work."""

    @override
    def _begin_anew(self) -> None:
        self._trace, self._offered = SearchTrace(), False
        self._frontier_look, self._memory_look = Throttle(FRONTIER_EVERY), Throttle(MEMORY_EVERY)
        self._turns = 0
        self._quiet_until = 0.0

    @override
    def _go_on(self, session: SessionLike, spec: SearchSpec, job: Job) -> SearchLike:
        search = session.search(spec)
        for progress in job.progress():
            self._trace.add(progress)
        return search

    def _turn(self) -> None:
        for command in latest_wins(self._waiting()):
            if self._stop.is_set():
                return
            if isinstance(command, commands.OpenAnother):
                self._open_another(command)
                self._n_served += 1
                return
            if self._session is None:
                self._notice("Nothing is open; the reason is on the screen.", "warning")
            else:
                self._guard(partial(self._serve, self._session, command))
            self._n_served += not isinstance(command, commands.View)
        if self._session is not None and not self._stop.is_set():
            self._guard(partial(self._advance, self._session))

    @property
    def _searching(self) -> bool:
        return self._search is not None and self._state.search.phase in ("running", "stopping")

    def _patience(self) -> float | None:
        if self._searching:
            return 0
        if self._work_left:
            return max(0.0, self._quiet_until - time.monotonic())
        self._guard(self._store)
        return None

    def _advance(self, session: SessionLike) -> None:
        """Make one step of the search or do one slice of background work; never both, for a command may be waiting."""
        self._turns += 1
        if self._memory_look.due() and (memory := session.memory_use()) != self._state.memory:
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
                self._work_left = False  # otherwise it would fail again and again
                raise
            self._publish(wake=not left or view.estimated != estimated, circuit=view)
            self._work_left = left
        if self.autosave is not None and self.autosave.due():
            self._store()

    def _step(self, session: SessionLike) -> None:
        try:
            self._search_step(session)
        except BaseException:
            if self.autosave is not None:
                self.autosave.save_search()  # so that another process can go on from the steps before
            raise

    def _search_step(self, session: SessionLike) -> None:
        search = self._search
        assert search is not None
        try:
            progress = next(search)
        except StopIteration:
            self._search = None
            self._finish(session, search)
            return
        except BaseException as error:
            self._search = None
            self._publish(wake=True, search=replace(self._state.search, phase="failed"))
            if isinstance(error, CheckpointError):
                raise CheckpointError(f"{error}; s starts it anew") from error
            raise
        self._trace.add(progress)
        trace, rate = self._trace.points(), self._trace.rate.per_second
        state = replace(self._state.search, progress=progress, trace=trace, rate=rate)
        if self._frontier_look.due():
            state = replace(state, frontier=session.searches.frontier())
        self._publish(wake=False, search=state)
        if self.autosave is not None:
            self.autosave.step(progress)

    def _finish(self, session: SessionLike, search: SearchLike) -> None:
        """Take the circuit that a search found, and store the session."""
        result = search.result
        if result is None:
            self._publish(wake=True, search=replace(self._state.search, phase="failed"))
            self._notice("The search ended without a circuit.", "warning")
        else:
            session.adopt(result)
            self._work_left = True
            trace, frontier = self._trace.points(), session.searches.frontier()
            state = replace(self._state.search, phase="done", result=result, trace=trace, frontier=frontier)
            self._publish(wake=True, search=state, circuit=session.view(), epoch=self._state.epoch + 1)
        self._store()
        if self.autosave is not None:
            self.autosave.end()

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
            case commands.StartSearch(spec):
                self._start(session, spec)
            case commands.PauseSearch() | commands.StopSearch():
                self._pause_or_stop(session, command)
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
            case commands.ExplainPrompt(index):
                self._publish(wake=True, explanation=session.explain(index))
                self._work_left, self._quiet_until = True, 0.0
            case commands.ShowLatentPrompts(nodes):
                self._publish(wake=True, latent_prompts=session.latent_prompts(nodes))
            case commands.ShowTextExamples(site, latent, path):
                self._publish(wake=True, text_examples=session.text_examples(site, latent, path))
            case commands.ShowEdges(end):
                self._publish(wake=True, edges=session.edges.begin(end))
                self._work_left, self._quiet_until = True, 0.0
            case commands.ExplainEdge(source, target, head):
                self._publish(wake=True, edge_score=session.edges.why(source, target, head))
            case commands.SwitchEdge(source, target):
                self._publish(wake=True, edges=session.edges.switch(source, target))
            case commands.TryPrompt(prompt):
                self._publish(wake=True, trial=session.trial.begin(prompt))
            case commands.ExpandTarget(target):
                self._publish(wake=True, trial=session.trial.expand(target))
            case commands.Export() | commands.ExportTable():
                self._export(session, command)
            case commands.AskIntervals():
                session.searches.ask_intervals()
                self._work_left, self._quiet_until = True, 0.0
            case commands.Follow():
                self._follow(command)
            case commands.Collect(job):
                self._collect(session, job)

    def _edit(self, session: SessionLike, edit: commands.Edit) -> None:
        commands.apply_edit(session, edit)
        view, whole = session.view(), isinstance(edit, commands.REPLACING)
        self._work_left, self._quiet_until = True, 0.0 if view.estimated else time.monotonic() + QUIET
        self._publish(wake=True, circuit=view, epoch=self._state.epoch + whole)

    def _export(self, session: SessionLike, command: commands.ExportCommand) -> None:
        replaced = file_kind(command.path)
        try:
            if isinstance(command, commands.Export):
                written = session.export(command.path, force=command.force)
            else:
                from circuit_tui.core.session.tables import export_table  # torch

                written = export_table(session, command.wanted, command.path, force=command.force)
        except ForeignFileError:
            self._post(ForeignFile(replace(command, force=True)))
            return
        self._publish(wake=True, circuit=session.view())
        self._post(Exported(written, replaced))

    def _start(self, session: SessionLike, spec: SearchSpec) -> None:
        if self._state.search.live:
            raise UserError("a search is under way; stop it first (S)")
        if not self._offered:  # once is enough
            self._offered = True
            for offer in session.splice_offers(spec.target):
                self._notice(offer, "warning")
        self._search = session.search(spec)
        self._trace, self.followed = SearchTrace(), None
        self._publish(wake=True, search=SearchState(phase="running", spec=spec))
        if self.autosave is not None:
            self.autosave.begin(self._search, spec)

    def _pause_or_stop(self, session: SessionLike, command: commands.PauseSearch | commands.StopSearch) -> None:
        """Pause, continue or stop the search; one in another process can only be stopped."""
        search, stop = self._state.search, isinstance(command, commands.StopSearch)
        if self.followed is not None:
            if not stop:
                raise UserError("the search runs in the background: it cannot be paused, only stopped (S)")
            self.followed.stop()
            self._publish(wake=True, search=replace(search, phase="stopping"))
        elif self._search is None or not search.live:
            raise UserError("no search is under way; s starts one")
        elif stop:
            self._search.stop()
            self._publish(wake=True, search=replace(search, phase="stopping"))
        elif search.phase != "stopping":
            phase: SearchPhase = "paused" if search.phase == "running" else "running"
            self._publish(wake=True, search=replace(search, phase=phase, frontier=session.searches.frontier()))

    def _follow(self, command: commands.Follow) -> None:
        """Show how far the search of another process is."""
        if self._search is not None:
            return
        self.followed = command.job
        phase: SearchPhase = "stopping" if self._state.search.phase == "stopping" else "running"
        progress = command.trace[-1] if command.trace else None
        state = SearchState(phase=phase, spec=command.spec, progress=progress, trace=command.trace)
        self._publish(wake=False, search=state)

    def _collect(self, session: SessionLike, job: Job) -> None:
        """Take the circuit of a search in another process, which has ended."""
        self.followed = None
        state = job.state
        failed = state != "done"
        self._publish(wake=True, search=replace(self._state.search, phase="failed" if failed else "done"))
        if state == "unfinished":
            raise UserError("the search in the background was cut off; J continues it")
        if failed:
            why = job.error or f"see {job.log}"
            raise UserError(f"the search in the background ended without a circuit: {why}")
        session.open_circuit(job.circuit)
        self._work_left = True
        self._publish(wake=True, circuit=session.view(), epoch=self._state.epoch + 1)
        job.mark_seen()
        self._notice(f"The search in the background has ended; its circuit is in {job.spec.out or job.circuit}")
