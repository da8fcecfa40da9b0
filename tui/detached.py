"""Starts the process in which a job's search runs in the background."""

from __future__ import annotations

import subprocess
import sys

from circuit_tui.core.jobs.job import Job

_MAIN = "from circuit_tui.tui.cli import main; raise SystemExit(main())"


def start_detached(job: Job) -> int:
    """Hand `job`, which this process works on, over to a new process, and return the number of that process.

    The new process belongs to no terminal, so it does not end with one. It inherits the job's lock, so the lock is held
    at every moment.
    """
    job.change(kind="detached")
    lock = job.hand_over()
    command = [sys.executable, "-c", _MAIN, "resume", "--job", job.name, "--lock", str(lock)]
    with job.log.open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=(lock,)
        )
    job.release(process.pid)
    return process.pid
