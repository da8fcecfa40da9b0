"""``circuit-tui check``: opens what a circuit file names, recomputes its numbers and says which differ."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuit_tui.core.errors import UserError
from circuit_tui.tui.commands import options, output, progress
from circuit_tui.tui.commands.boundary import DONE, NO
from circuit_tui.tui.commands.open_file import open_file, request_for
from circuit_tui.tui.commands.opening import Reopening, reopening_flags

if TYPE_CHECKING:
    from circuit_tui.core.circuits.audit_schema import AuditPart
    from circuit_tui.core.circuits.field_check import FieldCheck
    from circuit_tui.core.circuits.schema import CircuitFile
    from circuit_tui.core.opening.request import OpenRequest
    from circuit_tui.core.session.session import Session


@reopening_flags
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="The circuit file.")],
    tolerance: Annotated[float, typer.Option(help="How far off a number may be; relative for numbers above 1.")] = 1e-3,
    text: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the text of its audit is now.")] = None,
    searches: Annotated[bool, typer.Option("--searches", help="Repeat the searches of its audit.")] = False,
    *,
    reopening: Reopening,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Recompute the numbers of a circuit file. Exits 1 if a number, a hash, the size or a verdict differs.

    If the file holds an audit, its lines that need no search are measured again; with --searches the others too.
    """
    if not 0 <= tolerance < float("inf"):
        raise UserError(f"--tolerance {tolerance:g}: must be a finite number, not below 0")
    request = reopening.request()
    from circuit_tui.core.circuits.circuit_file import read_circuit
    from circuit_tui.core.circuits.recheck import recheck_circuit

    claimed, folder = read_circuit(file), file.expanduser().parent
    with output.quiet(debug=debug):
        from circuit_tui.core.session.session import Session

        session = Session(open_file(claimed, request, folder))
        checks = recheck_circuit(claimed, _recompute(session, claimed), tolerance)
        if claimed.audit is not None:
            checks += _audit_checks(session, claimed, text, folder, tolerance, searches=searches)
        if claimed.edges is not None:
            checks += _edge_checks(session, file, claimed, request_for(claimed, request, folder), tolerance)
    wrong = [each for each in checks if not each.ok]
    if json:
        fields = [*map(asdict, checks)]
        output.print_json({"file": str(file), "ok": not wrong, "tolerance": tolerance, "fields": fields})
    else:
        _print(file, checks)
        if claimed.audit is not None and not searches:
            _print_left_out(claimed.audit)
    return NO if wrong else DONE


def _recompute(session: Session, file: CircuitFile) -> CircuitFile:
    """Evaluate the file's circuit, its snapshots and groups again, in a session of what the file names."""
    from circuit_tui.core.opening.file_annotations import annotations_of_file

    table = session.table
    number = {
        (table.sites[site].hook, table.positions[position], latent): node
        for node, (site, position, latent) in enumerate(zip(table.site, table.position, table.latent, strict=True))
    }
    for name, nodes in file.snapshot_nodes().items():
        session.replace([number[node] for node in nodes], "opened for a check")
        session.save_snapshot(name)
    session.replace([number[node] for node in file.nodes()], "opened for a check", file)
    session.take_annotations(annotations_of_file(file, session.problem, lambda nodes: [number[node] for node in nodes]))
    progress.say("computing every number")
    progress.finish_background_work(session)
    return session.circuit_file()


def _audit_checks(
    session: Session, file: CircuitFile, text: Path | None, folder: Path, tolerance: float, *, searches: bool
) -> tuple[FieldCheck, ...]:
    """Measure the file's audit again and compare; `text` takes precedence over the path in the file."""
    from circuit_tui.core.audit.recheck import recheck_audit
    from circuit_tui.core.audit.texts import recorded_text

    assert file.audit is not None
    progress.say("measuring its audit again")
    text = None if file.audit.text is None else text or recorded_text(file.audit, folder)
    with progress.AuditBar() as bar:
        return recheck_audit(
            session.experiment, session.kept, file, text, tolerance, searches=searches, progress=bar.show
        )


def _edge_checks(
    session: Session, path: Path, file: CircuitFile, request: OpenRequest, tolerance: float
) -> tuple[FieldCheck, ...]:
    """Compute the file's edges again, in float32, and compare."""
    from circuit_tui.core.edges.file_part import recheck_edges
    from circuit_tui.core.opening.float32 import open_float32
    from circuit_tui.core.opening.open_circuit import open_circuit

    assert file.edges is not None
    progress.say("computing its edges again")
    experiment = session.experiment
    if file.model.dtype != "float32":
        experiment = open_float32(request, progress.loading, file)
    kept = open_circuit(path, experiment.opened).kept
    return recheck_edges(file.edges, experiment.test, experiment.train, kept, tolerance).result()


def _print_left_out(audit: AuditPart) -> None:
    from circuit_tui.core.audit.recheck import titles_left_out

    titles = titles_left_out(audit)
    if titles:
        output.print_line(f"not measured again without --searches: {', '.join(titles)}")


def _print(path: Path, checks: tuple[FieldCheck, ...]) -> None:
    """Print all fields. Those of single nodes are printed only if they are wrong; the others are counted."""
    shown = [each for each in checks if ".nodes[" not in each.field or not each.ok]
    output.print_table(
        ("field", "file", "recomputed", ""),
        [(each.field, _cell(each.file), _cell(each.now), "ok" if each.ok else "DIFFERS") for each in shown],
        right=("file", "recomputed"),
    )
    wrong = sum(not each.ok for each in checks)
    output.print_line()
    if len(shown) < len(checks):
        output.print_line(f"and {len(checks) - len(shown)} numbers of single nodes, all ok")
    if wrong:
        output.print_line(f"{path}: {wrong} of {len(checks)} fields differ", style="bold red")
    else:
        output.print_line(f"{path}: all {len(checks)} fields agree", style="bold green")


def _cell(value: str | float | None) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = "–" if value is None else str(value)
    return f"{text[:12]}…" if len(text) == 64 and " " not in text else text
