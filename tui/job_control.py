"""The explorer's jobs: it offers work that was cut off, follows other processes' searches, leaves its own running."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from textual.message import Message

from circuit_tui.core.errors import UserError
from circuit_tui.core.jobs.job import Job, all_jobs, new_job
from circuit_tui.core.jobs.summary import job_summary
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.tui.detached import start_detached
from circuit_tui.tui.engine import commands
from circuit_tui.tui.engine.messages import Notice
from circuit_tui.tui.engine.search_trace import SearchTrace
from circuit_tui.tui.screens.jobs import Answer, JobsScreen, OfferScreen, title_of

if TYPE_CHECKING:
    from textual.app import App
    from textual.timer import Timer

    from circuit_tui.tui.engine.engine import Engine
    from circuit_tui.tui.engine.job_autosave import JobAutosave

log = logging.getLogger("circuit_tui")

SEEN_JOB_AGE = 7 * 24 * 3600.0  # seconds for which a job stays after its result was seen
LOOK_EVERY = 0.5  # seconds between two looks at a search in another process
DETACH_TIMEOUT = 5.0  # seconds for the step under way to end and be stored


def explorer_job(request: OpenRequest) -> Job | None:
    """A new job for an explorer that opens `request`; None where its folder cannot be made."""
    try:
        return new_job("explore", request, None, None)
    except OSError:
        log.exception("nothing is kept for a restart")
        return None


class JobControl:
    """The jobs of one explorer. `app` shows the dialogs, `post` takes notices, `autosave` keeps the engine's work."""

    def __init__(
        self, app: App[None], engine: Engine, autosave: JobAutosave, post: Callable[[Message], object]
    ) -> None:
        self._app, self._engine, self._autosave, self._post = app, engine, autosave, post
        self._watched: Job | None = None
        self._trace, self._lines = SearchTrace(), 0
        self._timer: Timer | None = None
        self.leaving_search = False

    def begin(self) -> None:
        """Start the engine, after a question about work that was cut off, if there is any."""
        others = [job for job in all_jobs() if job.name != self._autosave.job.name]
        offered = next((job for job in others if worth_offering(job)), None)
        for job in others:
            if worthless(job) and job.claim():
                job.remove()
        if offered is None:
            self._engine.start()
            return
        if not self._is_asked_for(offered):
            # What was asked for is opened at once; the other work can wait.
            other = job_summary(offered)
            how = "circuit-tui without a model, task or file offers it"
            self._post(Notice(f"{title_of(other)}: {other.what}. {how}.", "warning"))
            self._engine.start()
            return

        def answered(answer: Answer) -> None:
            with self._errors_shown():
                self._answer(offered, answer)
            self._engine.start()

        self._app.push_screen(OfferScreen(offered), answered)

    def _is_asked_for(self, job: Job) -> bool:
        """Whether `job` is about what the user named, or the user named nothing."""
        request = self._engine.request
        return request in (OpenRequest(seed=request.seed), job.spec.request, job.spec.from_anywhere())

    @contextmanager
    def _errors_shown(self) -> Iterator[None]:
        """Turn the errors of a damaged or busy job's folder into a notice."""
        try:
            yield
        except (UserError, OSError, ValueError) as error:
            self._post(Notice(str(error), "error"))

    def _answer(self, job: Job, answer: Answer) -> None:
        if answer == "discard":
            if job.claim():
                job.remove()
        elif answer == "accept" and job.state != "failed":
            request = job.spec.from_anywhere()
            if job.state == "unfinished":
                if not job.claim():
                    raise UserError(f"{job.name}: another process has taken it up")
                self._engine.request = request
                self._autosave.continue_job(job)
            else:
                self._engine.request = request
                self._autosave.job.change(request=request)
                self._watch(job)

    def _watch(self, job: Job) -> None:
        """Show the search of `job` from now on, and take its circuit when it ends."""
        self._watched, self._trace, self._lines = job, SearchTrace(), 0
        if self._timer is None:
            self._timer = self._app.set_interval(LOOK_EVERY, self._look)

    def unwatch(self) -> None:
        """Something else is open: the search in another process is no longer shown here."""
        self._watched = None

    def _look(self) -> None:
        job = self._watched
        if job is None or self._engine.state.phase != "ready":
            return
        running = job.state == "running"
        for report in job.progress(self._lines):
            self._trace.add(report)
            self._lines += 1
        search = job.spec.search
        if search is not None:
            self._engine.submit(commands.Follow(job, search, self._trace.points()))
        if not running:
            self._watched = None
            self._engine.submit(commands.Collect(job))

    def show_all(self) -> None:
        """Show the list of jobs, from which one can be watched, stopped or discarded."""
        every = all_jobs()
        jobs = [job for job in every if job.name != self._autosave.job.name and job.spec.kind != "explore"]
        jobs += [job for job in every if job.spec.kind == "explore" and job.state == "unfinished"]
        if not jobs:
            self._post(Notice("No search runs in the background, and none was cut off."))
            return

        def chosen(job: Job | None) -> None:
            if job is not None:
                with self._errors_shown():
                    self._choose(job)

        self._app.push_screen(JobsScreen(jobs), chosen)

    def _choose(self, job: Job) -> None:
        if self._engine.state.search.live:
            raise UserError("a search is under way; stop it first (S)")
        from circuit_tui.core.opening.identity import differing  # slow: not before the first frame

        mine, theirs = self._autosave.job.spec.subject, job.spec.subject
        if mine is None or (theirs is not None and differing(theirs, mine)):
            raise UserError("that search is not about what is open here; start the explorer anew for it")
        if job.state == "unfinished":
            if not job.claim():
                raise UserError(f"{job.name}: another process has taken it up")
            start_detached(job)
        self._watch(job)

    @property
    def searching(self) -> bool:
        """Whether a search runs in this process."""
        return self._engine.state.search.live and self._engine.followed is None

    def leave_running(self) -> None:
        """Quit, and let the search go on in a process of its own."""
        if self.searching:
            self.leaving_search = True
            self._app.exit()
        else:
            self._post(Notice("No search is under way; s starts one.", "warning"))

    def close(self, *, wanted: bool) -> str:
        """Settle the job once the screen is gone, and return a line for the user, which may be empty.

        `wanted`: the user quit; nothing crashed and no signal ended the explorer.
        """
        job = self._autosave.job
        if self.leaving_search:
            self._engine.join(DETACH_TIMEOUT)
            pid = start_detached(job)
            return f"the search goes on in process {pid}; circuit-tui shows it again, log: {job.log}"
        if wanted and "failed" not in (self._engine.state.phase, self._engine.state.search.phase):
            job.remove()
            return ""
        try:
            worth_keeping = job.spec.search is not None or job.session is not None
        except (OSError, ValueError):
            worth_keeping = False
        if not worth_keeping:
            job.remove()
            return ""
        job.release()
        return "your work is kept: circuit-tui offers it, `circuit-tui resume` continues a search"


def worth_offering(job: Job) -> bool:
    """Whether the explorer should offer `job` when it starts: cut-off work, or an unseen search in the background."""
    try:
        state, spec = job.state, job.spec
    except (OSError, ValueError):
        return False
    if state == "unfinished":
        return spec.search is not None or job.session is not None
    return spec.kind == "detached" and not job.seen


def worthless(job: Job) -> bool:
    """Whether nobody will miss `job`: nothing was done in it, or its result was seen long ago."""
    try:
        state, spec = job.state, job.spec
    except (OSError, ValueError):
        return False
    if state == "unfinished":
        return spec.search is None and job.session is None
    return state != "running" and job.seen and time.time() - job.touched > SEEN_JOB_AGE
