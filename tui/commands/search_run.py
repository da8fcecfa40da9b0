"""Runs one search without a screen, from its beginning or from where an earlier process was cut off."""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from circuit_tui.core.errors import CheckpointError, OutOfMemory, UserError
from circuit_tui.core.jobs.autosave import Autosave
from circuit_tui.core.jobs.job import Job
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.tui.commands import output, progress
from circuit_tui.tui.commands.boundary import DONE, INTERRUPTED, NO, Terminated, log_line
from circuit_tui.tui.commands.interrupt import on_interrupt
from circuit_tui.tui.commands.restart_command import restart_command

if TYPE_CHECKING:
    from circuit_tui.core.circuits.schema import CircuitFile
    from circuit_tui.core.search.search import Search
    from circuit_tui.core.session.session import Session
    from circuit_tui.core.views import SearchResult


@dataclass(frozen=True, slots=True)
class FrontierOut:
    """Where the frontier of a search goes as a table, and whether with the 95% intervals of its held-out numbers."""

    path: Path
    force: bool = False
    intervals: bool = False


def run_search(
    job: Job | None,
    request: OpenRequest,
    spec: SearchSpec,
    out: Path | None,
    *,
    force: bool,
    json: bool,
    debug: bool,
    edge_target: float | None = None,
    frontier: FrontierOut | None = None,
) -> int:
    """Open, search, write and print; returns the exit code.

    `frontier` is where the search's frontier goes. With `edge_target` the edges of the circuit go into the file, those
    not needed for it dropped.

    `job` is kept up to date, and is removed once the circuit is safe. The circuit of a detached job goes into the job's
    folder too, where the process that started it looks for it.

    Raises:
        UserError: the request cannot be opened, or there is nothing to search.
        CheckpointError: the stored search cannot be continued; the job stays, and the line names the command that
            starts the search anew.
        OutOfMemory: there is not enough memory; the job can be resumed.
        Terminated: a signal ended it; the job can be resumed.
    """
    try:
        find = functools.partial(_search, job, request, spec, edge_target, frontier)
        return _run_search(find, job, request, spec, out, force=force, json=json, debug=debug)
    finally:
        if job is not None:
            job.release()


def _run_search(
    find: Callable[[], tuple[CircuitFile, SearchResult]],
    job: Job | None,
    request: OpenRequest,
    spec: SearchSpec,
    out: Path | None,
    *,
    force: bool,
    json: bool,
    debug: bool,
) -> int:
    detached = job is not None and job.spec.kind == "detached"
    log_line(f"search {spec.method} begins{'' if job is None else f', job {job.name}'}")
    with output.quiet(debug=debug):
        try:
            file, result = find()
        except OutOfMemory as error:
            if job is not None:  # it may fit later, so the job stays
                raise OutOfMemory(f"{error}; `circuit-tui resume` continues the search") from error
            raise
        except CheckpointError as error:  # its files or its version may come back, so the job stays
            raise CheckpointError(f"{error}; start the search anew: {restart_command(request, spec, out)}") from error
        except UserError as error:
            if job is not None:  # resuming would end in the same error
                job.finish("failed", str(error)) if detached else job.remove()
            raise
        # If a file cannot be written, `resume --out` writes another: the job stays until everything is written.
        from circuit_tui.core.circuits.circuit_file import write_export
        from circuit_tui.core.outputs.output_file import check_output

        if job is not None and detached:
            progress.say(f"wrote {write_export(file, job.circuit)}")
        if out is not None:
            check_output(out, force=force)  # someone may have put a file there while the search ran
            progress.say(f"wrote {write_export(file, out)}")
    if job is not None:
        _close(job, detached=detached)
    log_line(f"search {spec.method} ended with {file.size} nodes")
    if json:
        output.print_json(file.data())
    else:
        from circuit_tui.tui.commands.circuit_text import print_circuit

        print_circuit(file)
    if result.stopped:
        progress.say("interrupted: this is what the search had found by then")
        return INTERRUPTED
    edges_missed = file.edges is not None and file.edges.circuit is not None and not file.edges.circuit.reached
    return DONE if result.reached and not edges_missed else NO


def _search(
    job: Job | None,
    request: OpenRequest,
    spec: SearchSpec,
    edge_target: float | None,
    frontier: FrontierOut | None,
) -> tuple[CircuitFile, SearchResult]:
    progress.say("loading …")
    from circuit_tui.core.session.session import open_session

    session = open_session(request, progress.loading)
    for warning in session.info.warnings:
        progress.say(f"warning: {warning}")
    for line in session.splice_offers(spec.target):
        progress.say(f"note: {line}")
    autosave = None if job is None else Autosave(job, lambda text: progress.say(f"warning: {text}"))
    running = session.search(spec)
    if autosave is not None:
        autosave.opened(session)
        autosave.begin(running, spec, again=True)
    result = _run(running, autosave)
    session.adopt(result)
    if not result.stopped:
        progress.say("computing the effect of every node")
        progress.finish_background_work(session)
    if frontier is not None:
        _write_frontier(session, frontier)
    file = session.circuit_file()
    if edge_target is None or result.stopped:
        return file, result
    progress.say("computing its edges, and dropping those that it does not need")
    from circuit_tui.core.edges.file_part import find_edges

    part = find_edges(session.experiment, session.kept, edge_target).result()
    return file.model_copy(update={"edges": part}), result


def _write_frontier(session: Session, wanted: FrontierOut) -> None:
    if wanted.intervals:
        progress.say("computing the intervals of the frontier")
        session.searches.ask_intervals()
        while session.searches.advance():
            pass
    from circuit_tui.core.session.table_request import FrontierTable
    from circuit_tui.core.session.tables import export_table

    progress.say(f"wrote {export_table(session, FrontierTable(), wanted.path, force=wanted.force)}")


def _close(job: Job, *, detached: bool) -> None:
    """Tidy up after the search: a detached job keeps its circuit, a cut-off session stays, anything else is removed."""
    with contextlib.suppress(OSError):  # a folder that cannot be tidied up is no reason to lose the circuit
        if detached:
            job.drop_checkpoints()
            job.finish("done")
        elif job.session is not None:
            job.end_search()
        else:
            job.remove()


def _run(running: Search, autosave: Autosave | None) -> SearchResult:
    """Run a search to its end or until Ctrl-C stops it."""
    ending: list[int] = []
    try:
        with progress.SearchBar() as bar, on_interrupt(running.stop), _ends_between_steps(ending):
            for step in running:
                bar.show(step)
                if autosave is not None:
                    autosave.step(step)
                if ending:
                    raise Terminated(ending[0], kept=autosave is not None)
    finally:
        if autosave is not None:
            autosave.save_search()
    if running.result is None:
        raise RuntimeError("the search ended without a result")
    return running.result


@contextlib.contextmanager
def _ends_between_steps(ending: list[int]) -> Iterator[None]:
    """Collect the signals that end the process in `ending`, so that it ends between steps, where all is saved."""
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda number, frame: ending.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
