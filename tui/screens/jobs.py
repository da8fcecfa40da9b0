"""Jobs on the screen: the offer to go on with one at the start, and the list of all."""

from __future__ import annotations

from time import time
from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widgets import Label

from circuit_tui.core.errors import UserError
from circuit_tui.core.jobs.job import Job
from circuit_tui.core.jobs.summary import JobSummary, job_summary
from circuit_tui.tui.drawing.line import StyledLine, cut, printable
from circuit_tui.tui.drawing.number_text import count, duration, fixed
from circuit_tui.tui.engine.messages import Notice
from circuit_tui.tui.widgets.line_list import LineList

Answer = Literal["accept", "discard"] | None
TITLES = {
    "running": "A search runs in the background",
    "done": "A search in the background has ended",
    "failed": "A search in the background has failed",
}


def title_of(facts: JobSummary) -> str:
    """What happened."""
    if facts.state == "unfinished":
        return "A search was cut off" if facts.method else "A session was cut off"
    return TITLES[facts.state]


def far(facts: JobSummary) -> str:
    """``step 120/240, 41 nodes, faithfulness 0.953``; empty before the first step."""
    if facts.step is None:
        return ""
    parts = [f"step {count(facts.step)}/{count(facts.steps or facts.step)}"]
    if facts.size is not None:
        parts.append(f"{count(facts.size)} nodes")
    if facts.faithfulness is not None:
        parts.append(f"faithfulness {fixed(facts.faithfulness)}")
    return ", ".join(parts)


class OfferScreen(ModalScreen[Answer]):
    """Offers a job at the start. Its result is ``accept``, ``discard``, or None for "not now"."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,y", "dismiss('accept')", "Go on", show=False),
        Binding("d", "dismiss('discard')", "Discard", show=False),
        Binding("escape,n,q", "dismiss(None)", "Not now", show=False),
    ]

    def __init__(self, job: Job) -> None:
        super().__init__(classes="dialog")
        self._facts = job_summary(job)

    def compose(self) -> ComposeResult:
        facts = self._facts
        with Vertical(classes="box"):
            yield Label(title_of(facts), classes="title")
            yield Label(printable(facts.what), markup=False)
            yield Label(f"{duration(time() - facts.touched)} ago  {far(facts)}", markup=False)
            if facts.error:
                yield Label(printable(facts.error), markup=False)
            verb = {"unfinished": "go on with it", "running": "watch it", "done": "open it"}.get(
                facts.state, "watch it"
            )
            accept = "" if facts.state == "failed" else f"[b]enter[/b] {verb}   "
            discard = "" if facts.state == "running" else "[b]d[/b] discard it   "
            yield Label(f"{accept}{discard}[b]esc[/b] not now", classes="hint")


class JobList(LineList):
    """One line for each job."""

    def __init__(self, jobs: list[Job]) -> None:
        super().__init__(id="job-list")
        self.jobs = jobs
        self._facts = [job_summary(job) for job in jobs]

    def on_mount(self) -> None:
        self.set_length(len(self.jobs), 0)
        self.set_interval(1.0, self.look)

    def look(self) -> None:
        """Look again at how far they are."""
        self._facts = [job_summary(job) for job in self.jobs]
        self.refresh()

    def line(self, index: int, width: int) -> Strip:
        facts, pane_styles = self._facts[index], self.pane_styles
        tone = {"running": pane_styles.key, "done": pane_styles.good, "failed": pane_styles.bad}.get(
            facts.state, pane_styles.warn
        )
        line = StyledLine().add(" ").left(facts.state, 11, tone)
        text = f"{facts.what}  {facts.error or far(facts)}"
        return line.add(cut(printable(text), max(0, width - line.width - 1))).strip()


class JobsScreen(ModalScreen[Job | None]):
    """Dismissed with the job to watch, or None."""

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
            box.border_title = "Searches in the background, and what was cut off"
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
            self.post_message(Notice("It is running: S stops it.", "warning"))
            return
        job.remove()
        self.dismiss(None)
