"""A pool of workers that are processes of this machine."""

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
from typing import Any

from typing_extensions import override

from circuit_tui.core.runtime.machine import cores
from circuit_tui.core.runtime.throttle import Throttle
from circuit_tui.core.workers.pool import (
    Done,
    Event,
    Failed,
    Lost,
    MakeWork,
    Order,
    Result,
    Step,
    WorkerPool,
    attempt,
)

REPORT_EVERY = 0.5
"""Seconds between two reports of one worker's steps."""
GRACE = 5.0
"""Seconds that a worker has to end when it is told to."""


def threads_for(jobs: int) -> int:
    """Returns how many threads each of `jobs` workers should use: ``OMP_NUM_THREADS``, or its share of the cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else max(1, cores() // jobs)


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    connection: Connection


class ProcessPool(WorkerPool[Order, Result]):
    """Workers on this machine. Each is a fresh interpreter: a forked one would share what torch has started.

    Args:
        make: makes the work in a worker.
        threads: how many torch threads each worker has.
        log: the file for what libraries print in the workers; None discards it.
    """

    def __init__(self, make: MakeWork[Order, Result], threads: int, log: Path | None = None) -> None:
        self._make, self._threads, self._log = make, threads, log
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, _Worker] = {}
        self._stopped: list[SpawnProcess] = []
        self._started = 0

    @override
    def start(self) -> int:
        ours, theirs = self._context.Pipe()
        arguments = (theirs, self._make, self._threads, self._log, os.getpid())
        process = self._context.Process(target=_serve, args=arguments, daemon=True)
        with _interrupts_blocked():
            process.start()
        theirs.close()
        self._started += 1
        self._workers[self._started] = _Worker(process, ours)
        return self._started

    @override
    def pid(self, worker: int) -> int:
        return self._workers[worker].process.pid or 0

    @override
    def submit(self, worker: int, order: Order) -> None:
        with contextlib.suppress(OSError):
            self._workers[worker].connection.send(order)

    @override
    def events(self, seconds: float) -> list[Event[Result]]:
        by_connection = {worker.connection: number for number, worker in self._workers.items()}
        found: list[Event[Result]] = []
        for connection in wait(list(by_connection), seconds):
            assert isinstance(connection, Connection)
            number = by_connection[connection]
            try:
                found.append(_event(number, connection.recv()))
            except (EOFError, OSError):
                found.append(self._lost(number))
        return found

    @override
    def stop(self, worker: int) -> None:
        stopped = self._workers.pop(worker)
        stopped.connection.close()
        self._stopped.append(stopped.process)

    @override
    def close(self) -> None:
        for worker in self._workers.values():
            worker.connection.close()
        processes = [worker.process for worker in self._workers.values()] + self._stopped
        for process in processes:
            process.terminate()
        for process in processes:
            _end(process)
        self._workers.clear()
        self._stopped.clear()

    def _lost(self, number: int) -> Lost:
        worker = self._workers.pop(number)
        worker.connection.close()
        _end(worker.process)
        code = worker.process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return Lost(number, f"its worker process {how}")


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Ctrl-C waits. A process started meanwhile ignores it from its first moment, before it can ask for that itself."""
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


def _serve(connection: Connection, make: MakeWork[Order, Result], threads: int, log: Path | None, parent: int) -> None:
    """Runs orders in the worker's process until the connection is closed, and no longer than the parent lives."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes; it is meant for the parent
    os.environ["OMP_NUM_THREADS"] = str(threads)
    descriptor = os.open(log or os.devnull, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    throttle = Throttle(REPORT_EVERY)

    def report(step: int, steps: int) -> None:
        if throttle.due():
            if os.getppid() != parent:
                os._exit(1)
            connection.send(("step", step, steps))

    with contextlib.suppress(EOFError, OSError):
        work = make()
        while True:
            connection.send(("ended", *attempt(work, connection.recv(), report)))
