"""``circuit-tui saes``: the SAEs that ``--sae RELEASE:ID`` can name."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer

from circuit_tui.tui.commands import options, output, progress
from circuit_tui.tui.commands.boundary import DONE, NO


def saes(
    query: Annotated[list[str] | None, typer.Argument(help="Words to look for in release, id, model and hook.")] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """List the SAEs that --sae can name.

    That is sae-lens's registry, read without a network: its releases, or with words to look for each SAE. Exits 1 when
    nothing matches.
    """
    from circuit_tui.core.sae_registry import known_saes

    words = " ".join(query or ())
    with output.quiet(debug=debug):
        found = known_saes(words)
    if json:
        output.print_json({"saes": [asdict(sae) for sae in found]})
    elif not words:
        counts = Counter((sae.release, sae.model) for sae in found)
        output.print_table(("release", "model", "SAEs"), [(*key, str(n)) for key, n in counts.items()], right=("SAEs",))
    elif found:
        output.print_table(
            ("--sae", "model", "hook", "neuronpedia"),
            [(f"{sae.release}:{sae.id}", sae.model, sae.hook or "–", sae.neuronpedia_id or "–") for sae in found],
        )
    if not found:
        progress.say(f"no SAE of the registry matches {words!r}; `circuit-tui saes` alone lists the releases")
    return DONE if found else NO
