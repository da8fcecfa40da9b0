"""What the made-up workers of a pool have in common: they write down what they begin, and die or wait when told to."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from circuit_tui.core.workers.pool import ReportSteps


def note(folder: Path, name: object) -> None:
    """Writes to the file ``begun`` of `folder` that this process has begun `name`."""
    with (folder / "begun").open("a") as log:
        log.write(f"{name} {os.getpid()}\n")


def begun(folder: Path) -> list[tuple[str, int]]:
    """The (name, process) of everything that was begun."""
    path = folder / "begun"
    rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(name, int(pid)) for name, pid in rows]


def die_or_wait(behave: object, folder: Path, report: ReportSteps, steps: int) -> None:
    """Kills this process if it is to ``die``; if it is to ``wait``, does so until the file ``go`` is in `folder`."""
    if behave == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    while behave == "wait" and not (folder / "go").exists():
        time.sleep(0.02)
        report(2, steps)
