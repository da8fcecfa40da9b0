"""Workers as processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Generic

from circuit_tui.core.runtime.machine import cores
from circuit_tui.core.runtime.throttle import Throttle
from circuit_tui.core.workers.pool import Done, Event, Failed, Lost, MakeWork, Order, Result, Step, attempt

TELL_EVERY = 0.5
"""Seconds between two reports of one worker's steps."""
GRACE = 5.0
"""Seconds that a worker has to end when it is told to."""


def threads_for(jobs: int) -> int:
    """How many threads each of so many workers should use: ``OMP_NUM_THREADS`` if set, else its share of the cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else max(1, cores() // jobs)


@dataclass(slots=True)
class _Member:
    process: SpawnProcess
    line: Connection


class ProcessPool(Generic[Order, Result]):
    """Starts each worker as a fresh interpreter: a forked one would share what torch has started.

    Args:
        make: makes the work in a worker.
        threads: torch threads of each.
        log: where what libraries print in the workers goes; nowhere if None.
    """

    def __init__(self, make: MakeWork[Order, Result], threads: int, log: Path | None = None) -> None:
        self._make, self._threads, self._log = make, threads, log
        self._context = multiprocessing.get_context("spawn")
        self._members: dict[int, _Member] = {}
        self._leaving: list[SpawnProcess] = []
        self._hired = 0

    def start(self) -> int:
        """See `WorkerPool.start`."""
        ours, theirs = self._context.Pipe()
        arguments = (theirs, self._make, self._threads, self._log, os.getpid())
        process = self._context.Process(target=_serve, args=arguments, daemon=True)
        with _interrupt_held():
            process.start()
        theirs.close()
        self._hired += 1
        self._members[self._hired] = _Member(process, ours)
        return self._hired

    def pid(self, worker: int) -> int:
        """The process of a worker."""
        return self._members[worker].process.pid or 0

    def submit(self, worker: int, order: Order) -> None:
        """See `WorkerPool.submit`."""
        with contextlib.suppress(OSError):
            self._members[worker].line.send(order)

    def events(self, seconds: float) -> list[Event[Result]]:
        """See `WorkerPool.events`."""
        by_line = {member.line: worker for worker, member in self._members.items()}
        found: list[Event[Result]] = []
        for line in wait(list(by_line), seconds):
            assert isinstance(line, Connection)
            worker = by_line[line]
            try:
                found.append(_event(worker, line.recv()))
            except (EOFError, OSError):
                found.append(self._lost(worker))
        return found

    def stop(self, worker: int) -> None:
        """See `WorkerPool.stop`."""
        member = self._members.pop(worker)
        member.line.close()
        self._leaving.append(member.process)

    def close(self) -> None:
        """See `WorkerPool.close`."""
        for member in self._members.values():
            member.line.close()
        every = [member.process for member in self._members.values()] + self._leaving
        for process in every:
            process.terminate()
        for process in every:
            _end(process)
        self._members.clear()
        self._leaving.clear()

    def _lost(self, worker: int) -> Lost:
        member = self._members.pop(worker)
        member.line.close()
        _end(member.process)
        code = member.process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return Lost(worker, f"its worker process {how}")


@contextlib.contextmanager
def _interrupt_held() -> Iterator[None]:
    """Ctrl-C waits. A process started meanwhile is deaf to it from its first moment, before it can say so itself."""
    resource_tracker.ensure_running()  # or the first start would start it, and let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(process: SpawnProcess) -> None:
    process.join(GRACE)
    if process.is_alive():
        process.kill()
        process.join()


def _event(worker: int, message: tuple[Any, ...]) -> Event[Any]:
    match message:
        case ("step", int(step), int(steps)):
            return Step(worker, step, steps)
        case ("ended", result, "", ""):
            return Done(worker, result)
        case ("ended", None, str(error), str(traceback)):
            return Failed(worker, error, traceback)
    raise ValueError(message)


def _serve(line: Connection, make: MakeWork[Order, Result], threads: int, log: Path | None, parent: int) -> None:
    """The worker's process: runs orders until the line is closed, and no longer than its parent lives."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes: it is for the parent alone
    os.environ["OMP_NUM_THREADS"] = str(threads)
    descriptor = os.open(log or os.devnull, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    throttle = Throttle(TELL_EVERY)

    def tell(step: int, steps: int) -> None:
        if throttle.due():
            if os.getppid() != parent:
                os._exit(1)
            line.send(("step", step, steps))

    with contextlib.suppress(EOFError, OSError):
        work = make()
        while True:
            line.send(("ended", *attempt(work, line.recv(), tell)))
