"""``circuit-tui annotate``: labels, notes, marks and groups in a circuit file, and the effects of its groups."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.annotations import AnnotationEdit, DeleteGroup, SaveGroup, SetLabel, SetNote, ToggleMarks
from circuit_tui.tui.commands import options, output, progress
from circuit_tui.tui.commands.boundary import DONE
from circuit_tui.tui.commands.open_file import open_file_session
from circuit_tui.tui.commands.opening import Reopening, reopening_flags

if TYPE_CHECKING:
    from circuit_tui.core.session.session import Session

_OUT = "Write there instead of into FILE."


@reopening_flags
def annotate(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="The circuit file.")],
    label: Annotated[list[str] | None, typer.Option(metavar="L2/210=TEXT", help="Name a latent; repeat.")] = None,
    note: Annotated[list[str] | None, typer.Option(metavar="L2/210=TEXT", help="Note on a latent; repeat.")] = None,
    mark: Annotated[list[str] | None, typer.Option(metavar="L2/210", help="Mark a latent or node; repeat.")] = None,
    group: Annotated[
        list[str] | None, typer.Option(metavar="NAME=L2/210,L1/3@end", help="Put nodes under a name; repeat.")
    ] = None,
    forget: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Forget a group; repeat.")] = None,
    *,
    reopening: Reopening,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help=_OUT)] = None,
    force: options.Force = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Name latents, note on them, mark nodes and group them, in a circuit file; list all of it with groups' effects."""
    asked = {"--label": label, "--note": note, "--group": group}
    for flag, texts in asked.items():
        for text in texts or ():
            if (not all(text.partition("=")[::2]) and flag == "--group") or "=" not in text:
                raise UserError(
                    f"{flag} {text}: write {'NAME=L2/210,L1/3@end' if flag == '--group' else 'L2/210=TEXT'}"
                )
    request = reopening.request()
    from circuit_tui.core.outputs.file_kind import CIRCUIT_FILE

    writes = bool(label or note or mark or group or forget) or out is not None
    target = (out or file) if writes else None
    with options.claimed_out(target, force=force, continues=CIRCUIT_FILE if out is None else ""):
        with output.quiet(debug=debug):
            session = open_file_session(file, request)
            for edit in _edits(session, label or [], note or [], mark or [], group or [], forget or []):
                session.annotate(edit)
            progress.say("computing every number")
            progress.finish_background_work(session)
            if target is not None:
                _write(session, target)
        said = _said(session)
    if json:
        output.print_json({"file": str(file), "written": None if target is None else str(target), **said})
    else:
        _print(said, target)
    return DONE


def _write(session: Session, target: Path) -> None:
    from circuit_tui.core.circuits.circuit_file import write_circuit

    write_circuit(session.circuit_file(), target)  # the lock is ours


def _edits(
    session: Session, labels: list[str], notes: list[str], marks: list[str], groups: list[str], forget: list[str]
) -> list[AnnotationEdit]:
    from circuit_tui.core.latents.address import parse_address

    table, edits = session.table, list[AnnotationEdit]()
    for kind, texts in ((SetLabel, labels), (SetNote, notes)):
        for each in texts:
            name, _, text = each.partition("=")
            address = parse_address(name, table)
            edits.append(kind(address.site, address.latent, text))
    for each in marks:
        nodes = parse_address(each, table).nodes(table)
        edits += [ToggleMarks(nodes)] if not set(nodes) <= session.annotations.marks else []
    for each in groups:
        name, _, names = each.partition("=")
        nodes = tuple(node for part in names.split(",") for node in parse_address(part, table).nodes(table))
        edits.append(SaveGroup(name, nodes))
    return [*edits, *map(DeleteGroup, forget)]


def _said(session: Session) -> dict[str, Any]:
    """Everything that is said in a session, by the names of latents and nodes."""
    table, said = session.table, session.annotations

    def node_name(node: int) -> str:
        return f"{latent_name((table.site[node], table.latent[node]))}@{table.positions[table.position[node]]}"

    def latent_name(key: tuple[int, int]) -> str:
        return f"{table.sites[key[0]].short}/{key[1]}"

    return {
        "labels": [{"latent": latent_name(key), **asdict(each)} for key in said.labels for each in said.labels[key]],
        "notes": [{"latent": latent_name(key), "text": text} for key, text in said.notes.items()],
        "marks": [node_name(node) for node in sorted(said.marks)],
        "groups": [
            {
                "name": view.group.name,
                "colour": view.group.colour,
                "nodes": [node_name(node) for node in view.group.nodes],
                "n_on": view.n_on,
                "effect": view.effect,
            }
            for view in session.groups()
        ],
    }


def _print(said: dict[str, Any], target: Path | None) -> None:
    rows = [("label", each["latent"], each["text"], each["source"]) for each in said["labels"]]
    rows += [("note", each["latent"], each["text"], "") for each in said["notes"]]
    rows += [("mark", name, "", "") for name in said["marks"]]
    for group in said["groups"]:
        on = f"{group['n_on']} of {len(group['nodes'])} on"
        rows.append(
            ("group", group["name"], " ".join(group["nodes"]), f"{on}, effect {output.number(group['effect'])}")
        )
    if rows:
        output.print_table(("", "of", "", ""), rows)
    else:
        output.print_line("nothing is said of this circuit; --label, --note, --mark and --group say something")
    if target is not None:
        output.print_line(f"wrote {target}")
