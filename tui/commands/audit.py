"""``circuit-tui audit``: can the circuit in a file be believed?"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuit_tui.core.audit.finding import reasons
from circuit_tui.core.errors import UserError
from circuit_tui.tui.commands import options, output, progress
from circuit_tui.tui.commands.boundary import DONE, INTERRUPTED, NO, log_path
from circuit_tui.tui.commands.interrupt import on_interrupt
from circuit_tui.tui.commands.open_file import open_file, request_for
from circuit_tui.tui.commands.opening import Reopening, reopening_flags

if TYPE_CHECKING:
    from circuit_tui.core.audit.run import Audit
    from circuit_tui.core.circuits.audit_schema import AuditPart
    from circuit_tui.core.circuits.schema import CircuitFile

_JOBS = "Parallel searches, each in its own process. [as cores and memory allow; 1 on a GPU]"
_DICTIONARIES = "Search with random directions, components and coordinates in place of the SAEs. [with --full]"
_EDGES = "Measure the circuit's edges too. [if the file has edges]"
STYLES = {"good": "green", "doubtful": "yellow", "bad": "bold red", "not measured": "dim"}


@reopening_flags
def audit(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="The circuit file.")],
    text: options.Text = None,
    seeds: Annotated[int, typer.Option(min=0, metavar="N", help="Searches with other seeds; 0 for none.")] = 5,
    resamplings: Annotated[int, typer.Option(min=0, metavar="N", help="Searches on resampled prompts.")] = 5,
    shuffles: Annotated[int, typer.Option(min=0, metavar="N", help="Searches on shuffled labels.")] = 1,
    dictionaries: Annotated[bool | None, typer.Option(help=_DICTIONARIES)] = None,
    edges: Annotated[bool | None, typer.Option(help=_EDGES)] = None,
    no_searches: Annotated[bool, typer.Option("--no-searches", help="Leave out what needs a search.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Search as for the circuit, on all search prompts.")] = False,
    random: Annotated[int, typer.Option(min=0, metavar="N", help="Random circuits of the same size.")] = 100,
    pairs: Annotated[int, typer.Option(min=0, metavar="N", help="Pairs of nodes to try, at most.")] = 100,
    seed: Annotated[int | None, typer.Option(min=0, metavar="N", help="Seed of every draw. [the file's]")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, metavar="N", help=_JOBS)] = None,
    *,
    reopening: Reopening,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write there instead of into FILE.")] = None,
    force: options.Force = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Say line by line whether a circuit can be believed, and write that into its file.

    Exits 1 if it cannot. The searches come last; Ctrl-C ends the audit and keeps what it has measured so far. However
    the command ended, the same command continues the audit.
    """
    request = reopening.request()
    from circuit_tui.core.circuits.circuit_file import read_circuit, write_circuit
    from circuit_tui.core.outputs.file_kind import CIRCUIT_FILE
    from circuit_tui.core.outputs.output_file import check_output

    claimed = read_circuit(file)
    if not claimed.nodes():
        raise UserError(f"{file}: its circuit has no nodes: there is nothing to audit")
    had = claimed.audit
    if out is None and not full and had is not None and had.finished and had.runs and not had.settings.quick:
        raise UserError(f"{file}: has a full audit; --full makes it again, --out FILE writes a quick one elsewhere")
    options.check_text(text)
    if out is not None and options.same_file(out, file):
        out = None
    folder = file.expanduser().parent
    continues = CIRCUIT_FILE if out is None or _continues(out, claimed) else ""
    with options.claimed_out(out or file, force=force, continues=continues), output.quiet(debug=debug):
        experiment = open_file(claimed, request, folder)
        from circuit_tui.core.opening.open_circuit import open_circuit

        circuit = open_circuit(file, experiment.opened)
        from circuit_tui.core.audit.open_audit import ParallelOptions, open_audit
        from circuit_tui.core.audit.report import audit_part
        from circuit_tui.core.audit.settings import EDGE_DRAWS, AuditSettings
        from circuit_tui.core.audit.texts import splice_text

        settings = AuditSettings(
            seed=claimed.seed if seed is None else seed,
            random_circuits=random,
            pairs=pairs,
            seeds=0 if no_searches else seeds,
            resamplings=0 if no_searches else resamplings,
            shuffles=0 if no_searches else shuffles,
            dictionaries=not no_searches and (full if dictionaries is None else dictionaries),
            edges=claimed.edges is not None if edges is None else edges,
            edge_draws=0 if no_searches else EDGE_DRAWS,
            quick=not full,
            text=splice_text(experiment.opened, text),
        )
        parallel = ParallelOptions(request_for(claimed, request, folder), claimed, jobs, log_path())
        running = open_audit(experiment, circuit.kept, circuit.provenance, settings, parallel, claimed.edges)
        if running.audited.parallel_searches is not None:
            progress.say(f"searches run in {running.audited.parallel_searches.jobs} other processes")
        if running.n_resumed_lines:
            progress.say(f"continuing an audit that was cut off: {running.n_resumed_lines} lines are measured")
        try:
            interrupted = _run(running)
            part = audit_part(running.result)
            target = _free_name(file) if out is None and _has_changed(file, claimed) else out or file
            check_output(target, force=force)  # someone may have put a file there in the meantime
            written = write_circuit(claimed.model_copy(update={"audit": part}), target)
            if part.finished:
                running.done()
        finally:
            running.leave()
        progress.say(f"wrote {written}")
    if json:
        output.print_json({"file": str(file), **part.model_dump(mode="json")})
    else:
        print_audit(claimed, part, reasons(running.result.findings))
    if interrupted:
        progress.say("interrupted: this is what the audit had measured by then")
        return INTERRUPTED
    if settings.quick and part.runs:
        progress.say("its searches were quick ones, which err on the careful side; --full searches like its own")
    return NO if part.outcome == "do not believe" else DONE


def _continues(out: Path, file: CircuitFile) -> bool:
    """Whether `out` holds an unfinished audit of the circuit of `file`."""
    from circuit_tui.core.circuits.circuit_file import read_circuit

    try:
        there = read_circuit(out)
    except UserError:
        return False
    without = {"audit": None}
    unfinished = there.audit is not None and not there.audit.finished
    return unfinished and there.model_copy(update=without) == file.model_copy(update=without)


def _has_changed(path: Path, claimed: CircuitFile) -> bool:
    """Whether the file at `path` no longer holds `claimed`, which the audit is about; a line then says so."""
    from circuit_tui.core.circuits.circuit_file import read_circuit

    try:
        changed = read_circuit(path) != claimed
    except UserError:
        changed = path.expanduser().exists()
    if changed:
        progress.say(f"{path}: another program has changed it since the audit began; it is left as it is")
    return changed


def _free_name(path: Path) -> Path:
    """A name beside `path` that no file has, such as ``NAME.audited.json``."""
    free, number = path.with_name(f"{path.stem}.audited{path.suffix}"), 1
    while free.expanduser().exists():
        number += 1
        free = path.with_name(f"{path.stem}.audited-{number}{path.suffix}")
    return free


def print_audit(file: CircuitFile, part: AuditPart, because: Sequence[str]) -> None:
    """Print each line with its verdict and what it means, then the outcome and the lines that decide it."""
    output.print_line(f"{file.model.name} · task {file.task.name} · {file.size} nodes")
    output.print_line()
    rows = [(finding.title, finding.verdict, finding.says) for finding in part.findings]
    output.print_table(("line", "verdict", "what it means"), rows, styles=STYLES)
    output.print_line()
    so_far = "; against it so far" if part.outcome == "not finished" else ""
    why = f"{so_far}: {', '.join(because)}" if because else ""
    style = {"believable": "bold green", "do not believe": "bold red"}.get(part.outcome, "bold yellow")
    output.print_line(f"{part.outcome}{why}", style=style)


def _run(audit: Audit) -> bool:
    """Run an audit to its end or until Ctrl-C; returns whether it was interrupted."""
    shown, interrupted = 0, threading.Event()
    with progress.AuditBar() as bar, on_interrupt(interrupted.set):
        for step in audit:
            for finding in audit.findings[shown:]:
                bar.say(f"{finding.verdict:12} {finding.title}")
            shown = len(audit.findings)
            bar.show(step)
            if interrupted.is_set():
                break
    return interrupted.is_set()
