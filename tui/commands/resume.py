"""``circuit-tui resume``: continues a search that was cut off."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from circuit_tui.core.errors import UserError
from circuit_tui.core.jobs.job import Job, all_jobs, unfinished
from circuit_tui.tui.commands import options, progress
from circuit_tui.tui.commands.search_run import run_search

JobName = Annotated[str | None, typer.Option("--job", metavar="NAME", help="The search to continue. [the newest]")]
Lock = Annotated[int | None, typer.Option("--lock", hidden=True)]


def resume(
    out: options.Out = None,
    force: options.Force = False,
    job: JobName = None,
    lock: Lock = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Continue the newest search that was cut off.

    It finds the circuit that the whole search would have found. Without --out it is written to the search's own --out.
    """
    if out is not None:
        options.check_out(out)
        out = out.expanduser().resolve()
    chosen = _chosen(job, inherited=lock)
    try:
        return _continue(chosen, out, force=force, json=json, debug=debug)
    finally:
        chosen.release()


def _continue(chosen: Job, out: Path | None, *, force: bool, json: bool, debug: bool) -> int:
    """Continue the search of a job that this process has claimed; `out` overrules where its circuit goes."""
    spec = chosen.spec
    assert spec.search is not None
    steps = chosen.progress()
    after = f" after step {steps[-1].step}" if steps else ""
    progress.say(f"continuing {chosen.name}: {spec.search.method}, target {spec.search.target:g}{after}")
    if not spec.folder.is_dir():
        raise UserError(f"{chosen.name}: the folder it was started in is gone: {spec.folder}")
    os.chdir(spec.folder)  # the paths in its request, and those in the circuit file it writes, are relative to it
    if out is None:
        out, force = spec.out, force or spec.force
    with options.claimed_out(out, force=force):
        return run_search(chosen, spec.request, spec.search, out, force=force, json=json, debug=debug)


def _chosen(name: str | None, *, inherited: int | None) -> Job:
    jobs = [job for job in all_jobs() if name in (None, job.name)]
    if inherited is not None and jobs:
        jobs[0].inherit(inherited)
        return jobs[0]
    if name is not None and not jobs:
        raise UserError(f"--job {name}: no such job; `circuit-tui jobs` lists them")
    for job in unfinished(jobs):
        if job.claim():
            return job
    running = [job.name for job in jobs if job.state == "running" and job.spec.search is not None]
    hint = f"; still running: {', '.join(running)}" if running else ""
    raise UserError(
        f"no search was cut off{hint}" if name is None else f"--job {name}: its search was not cut off{hint}"
    )
