"""Runs the explorer on the fake session in this terminal. The tests in a real pty start it.

Arguments: log file, seconds for each search step, then any of `load` (stay loading for ever), `noise` (write on
descriptors 1 and 2), `low`, `job` (keep the work in a job), `mouse`, `slow` (load for a second), `demo` (the bundled
demo in place of the fake session), `guarded` (write exports into the working directory only), `latents=N`.
"""

import asyncio
import faulthandler
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from fake_session import METHODS, FakeSession, opener

from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.views import LoadProgress
from circuit_tui.tui.app import run_explorer
from circuit_tui.tui.engine.session_protocol import open_real_session
from circuit_tui.tui.explorer_options import ExplorerOptions


def write_stacks(log: str) -> None:
    """On SIGUSR1, write where every thread and every task is: what to look at when nothing moves any more."""

    def write(number: int, frame: object) -> None:
        with open(f"{log}.stacks", "a") as file:
            for task in asyncio.all_tasks(asyncio.get_running_loop()):
                places, waiting = [], task.get_coro()
                while hasattr(waiting, "cr_frame") and waiting.cr_frame is not None:
                    places.append(f"{Path(waiting.cr_code.co_filename).name}:{waiting.cr_frame.f_lineno}")
                    waiting = waiting.cr_await
                file.write(f"{task.get_name()}: {' → '.join(places)} → {waiting}\n")
            faulthandler.dump_traceback(file)

    signal.signal(signal.SIGUSR1, write)


def main() -> int:
    log, seconds, *flags = sys.argv[1:]
    write_stacks(log)
    session = FakeSession(step_seconds=float(seconds), search_steps=100_000)
    latents = next((int(flag.removeprefix("latents=")) for flag in flags if flag.startswith("latents=")), 0)
    if latents:
        session = FakeSession(latents, step_seconds=float(seconds), search_steps=100_000)
    plain = opener(session)

    def open_session(request, progress):
        while "load" in flags:
            progress(LoadProgress("importing torch", 0, 3))
            time.sleep(600)
        if "noise" in flags:
            os.write(1, b"NOISE on one\n")
            os.write(2, b"NOISE on two\n")
            os.system("echo NOISE of a child")
        for step in range(10 if "slow" in flags else 0):
            progress(LoadProgress("importing torch", step, 10))
            time.sleep(0.1)
        opened, methods = open_real_session(request, progress) if "demo" in flags else plain(request, progress)
        if "guarded" in flags:
            write = opened.export
            opened.export = lambda path, *, force=False: write(Path(path.name or "unnamed"))
        return opened, methods

    assert METHODS
    return run_explorer(
        OpenRequest(),
        ExplorerOptions(low_bandwidth="low" in flags, target=0.9),
        mouse="mouse" in flags,
        log_path=Path(log),
        opener=open_session,
        autosave="job" in flags,
    )


if __name__ == "__main__":
    sys.exit(main())
