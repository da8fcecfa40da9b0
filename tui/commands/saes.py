"""``circuit-tui saes``: the SAEs that ``--sae RELEASE:ID`` can name."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuit_tui.tui.commands import options, output, progress
from circuit_tui.tui.commands.boundary import DONE, NO

if TYPE_CHECKING:
    from circuit_tui.core.saes.registry import RegisteredSae


def saes(
    query: Annotated[list[str] | None, typer.Argument(help="Words to find in release, id, model and hook.")] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """List the SAEs that --sae can name, from sae-lens's registry, which is read without a network.

    Without words it lists the releases. With words it lists each matching SAE with what its names tell (a dash:
    nothing) and the size of its download (~: estimated from its width). Exits 1 if nothing matches.
    """
    from circuit_tui.core.saes.registry import find_saes

    words = " ".join(query or ())
    with output.quiet(debug=debug):
        found = find_saes(words)
        rows = [_plain_values(sae) for sae in found] if json or words else []
    if json:
        output.print_json({"saes": rows})
    elif not words:
        counts = Counter((sae.release, sae.model) for sae in found)
        output.print_table(("release", "model", "SAEs"), [(*key, str(n)) for key, n in counts.items()], right=("SAEs",))
    elif found:
        output.print_table(
            ("--sae", "model", "hook", "width", "L0", "size", "neuronpedia"),
            [_cells(sae, row) for sae, row in zip(found, rows, strict=True)],
            right=("width", "L0", "size"),
        )
    if not found:
        progress.say(f"no SAE in the registry matches {words!r}; `circuit-tui saes` without words lists the releases")
    return DONE if found else NO


def _plain_values(sae: RegisteredSae) -> dict[str, Any]:
    """One SAE in plain values; `bytes` is the size of its weights if they are on the disk, otherwise an estimate."""
    from circuit_tui.core.saes.sae_files import bytes_on_disk

    here = bytes_on_disk(sae)
    return {
        "release": sae.release,
        "id": sae.id,
        "model": sae.model,
        "hook": sae.hook,
        "layer": sae.layer,
        "width": sae.width,
        "l0": sae.l0,
        "neuronpedia_id": sae.neuronpedia_id,
        "on_disk": here is not None,
        "bytes": sae.estimated_bytes if here is None else here,
    }


def _cells(sae: RegisteredSae, row: dict[str, Any]) -> tuple[str, ...]:
    from circuit_tui.core.hub.sizes import size_text

    size = "–" if row["bytes"] is None else size_text(row["bytes"])
    return (
        sae.name,
        sae.model,
        sae.hook or "–",
        "–" if sae.width is None else f"{sae.width:,}",
        "–" if sae.l0 is None else f"{sae.l0:.0f}",
        f"{size}, on disk" if row["on_disk"] else size if size == "–" else f"~{size}",
        sae.neuronpedia_id or "–",
    )
