"""Starts the process in which a job's search runs when nobody watches it."""

from __future__ import annotations

import subprocess
import sys

from circuit_tui.core.jobs.job import Job

_MAIN = "from circuit_tui.tui.cli import main; raise SystemExit(main())"


def start_detached(job: Job) -> int:
    """Hands `job`, which this process works on, to a new process, and returns its number.

    It belongs to no terminal, so none takes it along. It inherits the lock: the job is never nobody's.
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
