"""``circuit-tui jobs``: searches in the background, and work that was cut off."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from circuit_tui.core.errors import UserError
from circuit_tui.core.jobs.job import Job, all_jobs
from circuit_tui.core.jobs.summary import job_summary
from circuit_tui.tui.commands import options, output

Stop = Annotated[str | None, typer.Option("--stop", metavar="NAME", help="Stop this one and take the circuit it has.")]
Remove = Annotated[str | None, typer.Option("--remove", metavar="NAME", help="Remove this one, unless it is running.")]


def jobs(stop: Stop = None, remove: Remove = None, json: options.Json = False, debug: options.Debug = False) -> int:
    """List searches in the background, and work that was cut off."""
    if stop is not None:
        _named("--stop", stop).stop()
        return 0
    if remove is not None:
        job = _named("--remove", remove)
        if not job.claim():
            raise UserError(f"--remove {remove}: it is running; --stop it first")
        job.remove()
        return 0
    rows = [job_summary(job) for job in all_jobs()]
    if json:
        output.print_json({"jobs": [asdict(row) for row in rows]})
    elif not rows:
        output.print_line("no search runs in the background, and none was cut off")
    else:
        output.print_table(
            ("job", "state", "what", "step", "nodes", "faithfulness", "last sign"),
            [
                (
                    row.name,
                    row.state,
                    ": ".join(filter(None, (row.what, row.error))),
                    "–" if row.step is None else f"{row.step}/{row.steps}",
                    "–" if row.size is None else str(row.size),
                    output.number(row.faithfulness),
                    datetime.fromtimestamp(row.touched, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
                )
                for row in rows
            ],
            right=("step", "nodes", "faithfulness"),
        )
    return 0


def _named(flag: str, name: str) -> Job:
    for job in all_jobs():
        if job.name == name:
            return job
    raise UserError(f"{flag} {name}: no such job; `circuit-tui jobs` lists them")
