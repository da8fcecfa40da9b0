"""What the user wants to know about a job, gathered from its folder. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from circuit_tui.core.jobs.job import Job, JobState


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One job at one moment. `method` is empty while no search is under way; `touched` is in seconds since 1970."""

    name: str
    state: JobState
    kind: str
    method: str
    what: str
    pid: int | None
    host: str
    step: int | None
    steps: int | None
    size: int | None
    faithfulness: float | None
    error: str
    created: str
    touched: float
    folder: str


def job_summary(job: Job) -> JobSummary:
    """Sums up `job`. Raises OSError or ValueError if its folder is damaged or gone."""
    spec, steps = job.spec, job.progress()
    last = steps[-1] if steps else None
    subject, request = spec.subject or {}, spec.request
    task = subject.get("task") or request.task or request.prompts or request.circuit or "the demo's task"
    model = subject.get("model") or request.model or "the demo"
    method = spec.search.method if spec.search else ""
    return JobSummary(
        name=job.name,
        state=job.state,
        kind=spec.kind,
        method=method,
        what=f"{method}, {task} on {model}" if method else f"{task} on {model}",
        pid=job.pid,
        host=spec.host,
        step=last.step if last else None,
        steps=last.steps if last else None,
        size=last.size if last else None,
        faithfulness=None if last is None else last.hard if last.hard is not None else last.soft,
        error=job.error,
        created=spec.created,
        touched=job.touched,
        folder=str(job.folder),
    )
