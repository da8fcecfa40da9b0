"""``circuit-tui circuits`` lists circuit files with their numbers, ``circuit-tui diff`` compares two of them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuit_tui.tui.commands import options, output, progress
from circuit_tui.tui.commands.boundary import DONE, NO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circuit_tui.core.circuits.circuit_list import CircuitRow
    from circuit_tui.core.circuits.compare_circuits import CircuitComparison, NodeName

SHORT_HASH = 12


def circuits(
    places: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE.json|DIR]...", help="Circuit files, or folders of them. [.]")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.csv|.md|.svg", help="Write the list there too.")] = None,
    force: options.Force = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """List circuits with the search that found each and its numbers, the newest first. Exits 1 if there is none."""
    from circuit_tui.core.circuits.circuit_list import list_circuits

    options.check_table("--out", out, force=force)
    found = list_circuits(places or [Path()])
    for line in found.damaged:
        progress.say(f"left out: {line}")
    if out is not None:
        from circuit_tui.core.outputs.circuits_table import circuits_table
        from circuit_tui.core.outputs.table_file import write_table

        progress.say(f"wrote {write_table(circuits_table(found.rows), out, force=force)}")
    if json:
        rows = [{**asdict(row), "path": str(row.path)} for row in found.rows]
        output.print_json({"circuits": rows, "damaged": found.damaged})
    elif found.rows:
        _print(found.rows)
    else:
        output.print_line("there is no circuit file here")
    return DONE if found.rows else NO


def diff(
    first: Annotated[Path, typer.Argument(metavar="A.json", help="A circuit file.")],
    second: Annotated[Path, typer.Argument(metavar="B.json", help="Another.")],
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Compare two circuits: nodes, numbers, and in what they were measured. Exits 1 if their nodes differ."""
    from circuit_tui.core.circuits.circuit_file import read_circuit
    from circuit_tui.core.circuits.compare_circuits import ComparedCircuit, compare_circuits

    sides = [ComparedCircuit.of_file(read_circuit(path), str(path)) for path in (first, second)]
    found = compare_circuits(*sides)
    if json:
        output.print_json(_comparison_data(found))
    else:
        _print_comparison(found)
    return DONE if found.same_nodes else NO


def _print(rows: Sequence[CircuitRow]) -> None:
    numbers = ("target", "seed", "nodes", "train", "held-out", "95% interval", "KL", "accuracy")
    output.print_table(
        ("file", "model", "task", "found by", *numbers, "created"),
        [
            (
                str(row.path), row.model, row.task, row.method + (", edited" if row.edited else ""),
                output.number(row.target, 2), str(row.seed), str(row.size), output.number(row.train),
                output.number(row.test),
                "–" if row.interval is None else "–".join(map(output.number, row.interval)), output.number(row.kl),
                output.number(row.accuracy), row.created,
            )
            for row in rows
        ],
        right=numbers,
    )  # fmt: skip


def _comparison_data(found: CircuitComparison) -> dict[str, object]:
    def nodes(names: Sequence[NodeName]) -> list[dict[str, object]]:
        return [{"hook": hook, "position": position, "latent": latent} for hook, position, latent in names]

    sides = (("first", found.first), ("second", found.second))
    return {
        **{key: {"file": side.name, "size": len(side.nodes), "numbers": dict(side.numbers)} for key, side in sides},
        "overlap": found.overlap,
        "latent_overlap": found.latent_overlap,
        "differences": [{"what": what, "first": a, "second": b} for what, a, b in found.differences],
        "both": nodes(found.both),
        "only_first": nodes(found.only_first),
        "only_second": nodes(found.only_second),
    }


def _print_comparison(found: CircuitComparison) -> None:
    first, second = found.first, found.second
    rows = [("nodes", str(len(first.nodes)), str(len(second.nodes)), f"{len(first.nodes) - len(second.nodes):+d}")]
    for name, one in first.numbers.items():
        other = second.numbers[name]
        change = "–" if one is None or other is None else f"{one - other:+.3f}"
        rows.append((name.replace("_", " "), output.number(one), output.number(other), change))
    columns = ("", first.name, second.name, "first − second")
    output.print_table(columns, rows, right=columns[1:])
    for what, a, b in found.differences:
        output.print_line(f"not the same {what}: {_short(a)} and {_short(b)}", style="yellow")
    if found.differences:
        output.print_line("The numbers are of different things.", style="yellow")
    shares = f"of all nodes {found.overlap:.0%}, of all latents {found.latent_overlap:.0%}"
    output.print_line(f"\n{len(found.both)} nodes in both; {shares}")
    for side, names in ((first, found.only_first), (second, found.only_second)):
        if names:
            output.print_line(f"\nonly in {side.name}", style="bold")
            lines = [(hook, str(latent), position) for hook, position, latent in names]
            output.print_table(("hook", "latent", "position"), lines, right=("latent",))


def _short(text: str) -> str:
    """A hash by its beginning, any other text as it is."""
    is_hash = len(text) == 64 and all(c in "0123456789abcdef" for c in text)
    return text[:SHORT_HASH] if is_hash else text
