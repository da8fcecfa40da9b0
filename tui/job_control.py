"""What the explorer does with jobs: offers what was cut off, follows what runs elsewhere, leaves a search running."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from textual.message import Message

from circuit_tui.core.errors import UserError
from circuit_tui.core.jobs.job import Job, all_jobs, new_job
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.tui.detached import start_detached
from circuit_tui.tui.engine import commands as commands
from circuit_tui.tui.engine.job_engine import KeptEngine, start_of
from circuit_tui.tui.engine.messages import Notice
from circuit_tui.tui.engine.search_trace import SearchTrace
from circuit_tui.tui.engine.session_protocol import Opener
from circuit_tui.tui.screens.jobs import JobsScreen, OfferScreen

if TYPE_CHECKING:
    from textual.timer import Timer

    from circuit_tui.tui.app import ExplorerApp

log = logging.getLogger("circuit_tui")

SEEN_KEPT = 7 * 24 * 3600.0  # seconds for which a circuit that was looked at stays
LOOK_EVERY = 0.5  # seconds between two looks at a search in another process
DETACH_JOIN = 5.0  # seconds for the step under way to end and be stored


class JobControl:
    """The jobs of one explorer."""

    def __init__(self, app: ExplorerApp, job: Job) -> None:
        self._app, self._job = app, job
        self._watched: Job | None = None
        self._trace, self._lines = SearchTrace(), 0
        self._timer: Timer | None = None
        self.leaving_search = False

    @classmethod
    def of(cls, app: ExplorerApp, request: OpenRequest) -> JobControl | None:
        """The jobs of `app`, which opens `request`; None where no folder for them can be made."""
        try:
            return cls(app, new_job("explore", request, None, None))
        except OSError:
            log.exception("nothing is kept for a restart")
            return None

    def make_engine(
        self, request: OpenRequest, opener: Opener, post: Callable[[Message], Any], log_hint: str
    ) -> KeptEngine:
        """The explorer's engine, with a job of its own."""
        self._engine = KeptEngine(request, opener, post, log_hint, self._job)
        return self._engine

    def begin(self) -> None:
        """Starts the engine, after asking about what was left behind."""
        others = [job for job in all_jobs() if job.name != self._engine.job.name]
        offered = next((job for job in others if worth_an_offer(job)), None)
        for job in others:
            if worth_nothing(job) and job.claim():
                job.remove()
        if offered is None:
            self._engine.start()
            return

        def answered(answer: str | None) -> None:
            try:
                self._answer(offered, answer)
            except (UserError, OSError, ValueError) as error:
                self._app.post_to_main(Notice(str(error), "error"))
            self._engine.start()

        self._app.push_screen(OfferScreen(offered), answered)

    def _answer(self, job: Job, answer: str | None) -> None:
        if answer == "discard":
            if job.claim():
                job.remove()
        elif answer == "accept" and job.state != "failed":
            if job.state == "unfinished":
                if not job.claim():
                    raise UserError(f"{job.name}: another process has taken it up")
                self._engine.take_up(job)
            else:
                self._engine.open_that_of(job)
                self._watch(job)

    def _watch(self, job: Job) -> None:
        """Shows the search of `job` from now on, and takes its circuit when it ends."""
        self._watched, self._trace, self._lines = job, SearchTrace(), 0
        if self._timer is None:
            self._timer = self._app.set_interval(LOOK_EVERY, self._look)

    def _look(self) -> None:
        job = self._watched
        if job is None or self._engine.state.phase != "ready":
            return
        running = job.state == "running"
        for report in job.progress(self._lines):
            self._trace.add(report)
            self._lines += 1
        order = job.spec.order
        if order is not None:
            self._engine.submit(commands.Follow(job, start_of(order), self._trace.points()))
        if not running:
            self._watched = None
            self._engine.submit(commands.Collect(job))

    def show_all(self) -> None:
        """The list of jobs, from which one can be watched, stopped or forgotten."""
        every = all_jobs()
        jobs = [job for job in every if job.name != self._engine.job.name and job.spec.kind != "explore"]
        jobs += [job for job in every if job.spec.kind == "explore" and job.state == "unfinished"]
        if not jobs:
            self._app.post_to_main(Notice("No search runs in the background, and none was cut off."))
            return

        def chosen(job: Job | None) -> None:
            if job is not None:
                try:
                    self._choose(job)
                except (UserError, OSError, ValueError) as error:
                    self._app.post_to_main(Notice(str(error), "error"))

        self._app.push_screen(JobsScreen(jobs), chosen)

    def _choose(self, job: Job) -> None:
        if self._engine.state.search.live:
            raise UserError("a search is under way; stop it first (S)")
        mine = self._engine.job.spec.subject
        if mine is None or job.spec.subject not in (None, mine):
            raise UserError("that search is about something else than what is open; start the explorer anew for it")
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
        """Quits, and lets the search go on in a process of its own."""
        if self.searching:
            self.leaving_search = True
            self._app.exit()
        elif self._engine.state.search.live:
            self._app.exit()
        else:
            self._app.post_to_main(Notice("No search is under way; s starts one.", "warning"))

    def close(self, *, wanted: bool) -> str:
        """After the screen is gone: `wanted` tells whether the user left. Returns what to say."""
        job = self._engine.job
        if self.leaving_search:
            self._engine.join(DETACH_JOIN)
            pid = start_detached(job)
            return f"the search goes on in process {pid}; circuit-tui shows it again, log: {job.log}"
        if wanted and "failed" not in (self._engine.state.phase, self._engine.state.search.phase):
            job.remove()
            return ""
        try:
            something = job.spec.order is not None or job.session is not None
        except (OSError, ValueError):
            something = False
        if not something:
            job.remove()
            return ""
        job.release()
        return "what was open is kept: circuit-tui offers it, `circuit-tui resume` goes on with a search"


def worth_an_offer(job: Job) -> bool:
    """Whether a user would want to hear of `job` when the explorer starts."""
    try:
        state, spec = job.state, job.spec
    except (OSError, ValueError):
        return False
    if state == "unfinished":
        return spec.order is not None or job.session is not None
    return spec.kind == "detached" and not job.seen


def worth_nothing(job: Job) -> bool:
    """Whether nobody will miss `job`: nothing was done in it, or what came of it was seen long ago."""
    try:
        state, spec = job.state, job.spec
    except (OSError, ValueError):
        return False
    if state == "unfinished":
        return spec.order is None and job.session is None
    return state != "running" and job.seen and time.time() - job.touched > SEEN_KEPT
