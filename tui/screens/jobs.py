"""Dialogs about jobs: the offer of one at the start, and the list of all."""

from __future__ import annotations

from time import time
from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.strip import Strip
from textual.widgets import Label

from circuit_tui.core.errors import UserError
from circuit_tui.core.jobs.job import Job
from circuit_tui.core.jobs.summary import JobSummary, job_summary
from circuit_tui.tui.drawing.line import StyledLine, cut, printable
from circuit_tui.tui.drawing.number_text import count, duration, fixed
from circuit_tui.tui.engine.messages import Notice
from circuit_tui.tui.screens.dialog import Dialog
from circuit_tui.tui.widgets.line_list import LineList

Answer = Literal["accept", "discard"] | None
TITLES = {
    "running": "A search runs in the background",
    "done": "A search in the background has ended",
    "failed": "A search in the background has failed",
}


def title_of(job: JobSummary) -> str:
    """One line that says what happened to `job`."""
    if job.state == "unfinished":
        return "A search was cut off" if job.method else "A session was cut off"
    return TITLES[job.state]


def progress_text(job: JobSummary) -> str:
    """``step 120/240, 41 nodes, faithfulness 0.953``; empty before the first step."""
    if job.step is None:
        return ""
    parts = [f"step {count(job.step)}/{count(job.steps or job.step)}"]
    if job.size is not None:
        parts.append(f"{count(job.size)} nodes")
    if job.faithfulness is not None:
        parts.append(f"faithfulness {fixed(job.faithfulness)}")
    return ", ".join(parts)


class OfferScreen(Dialog[Answer]):
    """Offers a job at the start. Its result is ``accept``, ``discard``, or None for "not now"."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,y", "dismiss('accept')", "Go on", show=False),
        Binding("d", "dismiss('discard')", "Discard", show=False),
        Binding("escape,n,q", "dismiss(None)", "Not now", show=False),
    ]

    def __init__(self, job: Job) -> None:
        super().__init__(classes="dialog")
        self._job = job_summary(job)

    def compose(self) -> ComposeResult:
        job = self._job
        with Vertical(classes="box"):
            yield Label(title_of(job), classes="title", markup=False)
            yield Label(printable(job.what), markup=False)
            yield Label(f"{duration(time() - job.touched)} ago  {progress_text(job)}", markup=False)
            if job.error:
                yield Label(printable(job.error), markup=False)
            verb = {"unfinished": "continue it", "running": "watch it", "done": "open it"}.get(job.state, "watch it")
            accept = "" if job.state == "failed" else f"[b]enter[/b] {verb}   "
            discard = "" if job.state == "running" else "[b]d[/b] discard it   "
            yield Label(f"{accept}{discard}[b]esc[/b] not now", classes="hint")


class JobList(LineList):
    """One line for each job."""

    def __init__(self, jobs: list[Job]) -> None:
        super().__init__(id="job-list")
        self.jobs = jobs
        self._summaries = [job_summary(job) for job in jobs]

    def on_mount(self) -> None:
        self.set_length(len(self.jobs), 0)
        self.set_interval(1.0, self.read_again)

    def read_again(self) -> None:
        """Read the progress of the jobs again."""
        self._summaries = [job_summary(job) for job in self.jobs]
        self.refresh()

    def line(self, index: int, width: int) -> Strip:
        job, pane_styles = self._summaries[index], self.pane_styles
        tone = {"running": pane_styles.key, "done": pane_styles.good, "failed": pane_styles.bad}.get(
            job.state, pane_styles.warn
        )
        line = StyledLine().add(" ").left(job.state, 11, tone)
        text = f"{job.what}  {job.error or progress_text(job)}"
        return line.add(cut(printable(text), max(0, width - line.width - 1))).strip()


class JobsScreen(Dialog[Job | None]):
    """Lists the jobs, which can be stopped and discarded. Its result is the job to watch or open, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,J", "dismiss(None)", "Close", show=False),
        Binding("enter", "watch", "Watch", show=False),
        Binding("S", "stop", "Stop", show=False),
        Binding("d", "discard", "Discard", show=False),
    ]

    def __init__(self, jobs: list[Job]) -> None:
        super().__init__(classes="dialog")
        self._jobs = jobs

    def compose(self) -> ComposeResult:
        with Vertical(classes="box", id="compare-box") as box:
            box.border_title = "Searches in the background, and work that was cut off"
            box.border_subtitle = "enter watches or opens   S stops   d discards   esc closes"
            yield JobList(self._jobs)

    @property
    def _chosen(self) -> Job:
        return self._jobs[min(self.query_one(JobList).cursor, len(self._jobs) - 1)]

    def action_watch(self) -> None:
        self.dismiss(self._chosen)

    def action_stop(self) -> None:
        try:
            self._chosen.stop()
        except UserError as error:
            self.post_message(Notice(str(error), "error"))

    def action_discard(self) -> None:
        job = self._chosen
        if not job.claim():
            self.post_message(Notice("It is still running; S stops it.", "warning"))
            return
        job.remove()
        self.dismiss(None)
