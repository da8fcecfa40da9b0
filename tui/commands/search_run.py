"""Runs one search without a screen, from the beginning or from where an earlier process was cut off."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from circuit_tui.core.errors import OutOfMemory, UserError
from circuit_tui.core.jobs.autosave import Autosave
from circuit_tui.core.jobs.job import Job
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.tui.commands import output, progress
from circuit_tui.tui.commands.boundary import DONE, INTERRUPTED, NO, Terminated, note
from circuit_tui.tui.commands.interrupt import on_interrupt

if TYPE_CHECKING:
    from circuit_tui.core.circuits.schema import CircuitFile
    from circuit_tui.core.search.search import Search
    from circuit_tui.core.views import SearchResult


def run_search(
    job: Job | None, request: OpenRequest, spec: SearchSpec, out: Path | None, *, json: bool, debug: bool
) -> int:
    """Opens, searches, writes and prints; returns the exit code. `job` is kept up to date, and goes when all is safe.

    A detached job's circuit goes into its folder, where whoever started it will look for it.

    Raises:
        UserError: what is asked for cannot be opened, or is not worth searching.
        OutOfMemory: there is no memory for it; the job can go on.
        Terminated: a signal ended it; the job can go on.
    """
    try:
        return _run_search(job, request, spec, out, json=json, debug=debug)
    finally:
        if job is not None:
            job.release()


def _run_search(
    job: Job | None, request: OpenRequest, spec: SearchSpec, out: Path | None, *, json: bool, debug: bool
) -> int:
    detached = job is not None and job.spec.kind == "detached"
    note(f"search {spec.method} begins{'' if job is None else f', job {job.name}'}")
    with output.quiet(debug=debug):
        try:
            file, result = _search(job, request, spec)
        except OutOfMemory as error:
            if job is not None:  # it may fit later: the job stays
                raise OutOfMemory(f"{error}; `circuit-tui resume` goes on with what it has") from error
            raise
        except UserError as error:
            if job is not None:  # going on would end in the same error
                job.finish("failed", str(error)) if detached else job.remove()
            raise
        # What cannot be written there can be had again with `resume --out`: the job stays until all is written.
        _write(file, [path for path in (job.circuit if job and detached else None, out) if path is not None])
    if job is not None:
        _close(job, detached=detached)
    note(f"search {spec.method} ended with {file.size} nodes")
    if json:
        output.print_json(file.data())
    else:
        from circuit_tui.tui.commands.circuit_text import print_circuit

        print_circuit(file)
    if result.stopped:
        progress.say("interrupted: this is what the search had when it was stopped")
        return INTERRUPTED
    return DONE if result.reached else NO


def _search(job: Job | None, request: OpenRequest, spec: SearchSpec) -> tuple[CircuitFile, SearchResult]:
    progress.say("loading …")
    from circuit_tui.core.session.session import open_session

    session = open_session(request, progress.loading)
    for warning in session.info.warnings:
        progress.say(f"warning: {warning}")
    keeper = None if job is None else Autosave(job, lambda text: progress.say(f"warning: {text}"))
    running = session.search(spec)
    if keeper is not None:
        keeper.opened(session)
        keeper.begin(running, spec, again=True)
    result = _run(running, keeper)
    session.adopt(result)
    if not result.stopped:
        progress.say("computing the effect of every node")
        progress.finish(session)
    return session.circuit_file(), result


def _write(file: CircuitFile, paths: list[Path]) -> None:
    from circuit_tui.core.circuits.circuit_file import write_export

    for path in paths:
        progress.say(f"wrote {write_export(file, path)}")


def _close(job: Job, *, detached: bool) -> None:
    """The search is over: what remains is a circuit to be fetched, or a session that was cut off, or nothing."""
    with contextlib.suppress(OSError):  # a folder that cannot be tidied is no reason to lose the circuit
        if detached:
            job.drop_checkpoints()
            job.finish("done")
        elif job.session is not None:
            job.end_search()
        else:
            job.remove()


def _run(running: Search, keeper: Autosave | None) -> SearchResult:
    """Runs a search to its end, or to where Ctrl-C stops it."""
    ending: list[int] = []
    try:
        with progress.SearchBar() as bar, on_interrupt(running.stop), _ends_between_steps(ending):
            for step in running:
                bar.show(step)
                if keeper is not None:
                    keeper.step(step)
                if ending:
                    raise Terminated(ending[0], kept=keeper is not None)
    finally:
        if keeper is not None:
            keeper.save_search()
    if running.result is None:
        raise RuntimeError("the search ended without a result")
    return running.result


@contextlib.contextmanager
def _ends_between_steps(ending: list[int]) -> Iterator[None]:
    """Collects in `ending` the signals that end the process, so that it can end where all is saved."""
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda number, frame: ending.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
