"""``circuit-tui why``: why a circuit answers a prompt as it does, and on which prompts a latent matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuit_tui.core.errors import UserError
from circuit_tui.tui.commands import options, output
from circuit_tui.tui.commands.boundary import DONE
from circuit_tui.tui.commands.open_file import open_file_session
from circuit_tui.tui.commands.opening import Reopening, reopening_flags

if TYPE_CHECKING:
    from circuit_tui.core.latents.views import Explanation, LatentPrompts
    from circuit_tui.core.session.session import Session
    from circuit_tui.core.views import PromptRow

SHOWN = 10  # prompts of a table; --json has all


@reopening_flags
def why(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="The circuit file.")],
    prompt: Annotated[int | None, typer.Option(min=0, metavar="N", help="Explain this held-out prompt.")] = None,
    latent: Annotated[
        str | None, typer.Option(metavar="L2/210", help="Say on which held-out prompts this latent matters.")
    ] = None,
    *,
    reopening: Reopening,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Say which nodes carry the answer to a prompt, or on which prompts a latent matters; else list the prompts."""
    if prompt is not None and latent is not None:
        raise UserError("--prompt and --latent: give one of them")
    request = reopening.request()
    with output.quiet(debug=debug):
        session = open_file_session(file, request)
        if prompt is not None:
            explanation = _explain(session, prompt)
        elif latent is not None:
            from circuit_tui.core.latents.address import parse_address

            matters = session.latent_prompts(parse_address(latent, session.table).nodes(session.table))
        else:
            rows = session.prompts_view().rows
    if prompt is not None:
        _print_explanation(session, file, explanation, json=json)
    elif latent is not None:
        _print_latent_prompts(session, file, latent, matters, json=json)
    else:
        _print_rows(file, rows, json=json)
    return DONE


def _explain(session: Session, prompt: int) -> Explanation:
    """Compute all contributions on one prompt."""
    explanation = session.explain(prompt)
    while not explanation.done:
        session.work()
        explanation = session.explain(prompt)
    return explanation


def _print_explanation(session: Session, file: Path, explanation: Explanation, *, json: bool) -> None:
    clean, corrupt, table = explanation.clean, explanation.corrupt, session.table
    said = session.annotations
    labels = {node: said.label(table.site[node], table.latent[node]) or table.label[node] for node in clean.nodes}
    values: dict[int, tuple[float | None, float | None]] = {
        node: (value, None) for node, value in zip(clean.nodes, clean.values, strict=True)
    }
    if corrupt is not None:
        values = {node: (values[node][0], value) for node, value in zip(corrupt.nodes, corrupt.values, strict=True)}
    order = sorted(values, key=lambda node: -abs(values[node][0] or 0.0))
    if json:
        nodes = [
            {
                "site": table.sites[table.site[node]].short,
                "latent": table.latent[node],
                "position": table.positions[table.position[node]],
                "label": labels[node],
                "clean": values[node][0],
                "corrupt": values[node][1],
            }
            for node in order
        ]
        sides = {
            name: side and {"logit_diff": side.logit_diff, "tokens": side.tokens, "by_token": side.by_token}
            for name, side in (("clean", clean), ("corrupt", corrupt))
        }
        facts = asdict(explanation)
        kept = ("prompt", "text", "corrupt_text", "right", "wrong", "corrupt_error")
        output.print_json({"file": str(file), **{name: facts[name] for name in kept}, **sides, "nodes": nodes})
        return
    output.print_line(
        f"{explanation.text}   {explanation.right.strip()} over {explanation.wrong.strip()}", style="bold"
    )
    output.print_line(f"corrupt: {explanation.corrupt_text}")
    second = explanation.corrupt_error if corrupt is None else f"on the corrupt prompt {corrupt.logit_diff:+.3f}"
    output.print_line(f"logit difference of the circuit {clean.logit_diff:+.3f}; {second}")
    output.print_line()
    output.print_table(
        ("node", "position", "label", "clean", "corrupt"),
        [
            (
                f"{table.sites[table.site[node]].short}/{table.latent[node]}",
                table.positions[table.position[node]],
                labels[node],
                *map(_signed, values[node]),
            )
            for node in order
        ],
        right=("clean", "corrupt"),
    )
    output.print_line()
    by_token = zip(clean.tokens, clean.by_token, strict=True)
    output.print_line("by token: " + "  ".join(f"{token.strip()} {_signed(value)}" for token, value in by_token))


def _print_latent_prompts(session: Session, file: Path, latent: str, found: LatentPrompts, *, json: bool) -> None:
    if json:
        names = [session.table.positions[session.table.position[node]] for node in found.nodes]
        prompts = [*map(asdict, found.prompts)]
        output.print_json(
            {
                "file": str(file), "latent": latent, "positions": names, "kept": found.kept,
                "faithfulness": found.faithfulness, "interval": found.interval, "prompts": prompts,
            }
        )  # fmt: skip
        return
    says = "what the circuit loses without it" if found.kept else "it is off: what the circuit would gain with it"
    output.print_line(f"{latent}: {says}", style="bold")
    interval = "" if found.interval is None else f" (95% interval {' to '.join(map(_signed, found.interval))})"
    output.print_line(f"on all test prompts {_signed(found.faithfulness)} of the faithfulness{interval}")
    output.print_table(
        ("prompt", "text", "right", "wrong", "circuit", "effect"),
        [
            (str(row.prompt), row.text, row.right.strip(), row.wrong.strip(), _signed(row.circuit), _signed(row.effect))
            for row in found.prompts[:SHOWN]
        ],
        right=("prompt", "circuit", "effect"),
    )
    _print_more(len(found.prompts))


def _print_rows(file: Path, rows: Sequence[PromptRow], *, json: bool) -> None:
    if json:
        output.print_json({"file": str(file), "prompts": [*map(asdict, rows)]})
        return
    output.print_table(
        ("prompt", "text", "right", "wrong", "M", "circuit", ""),
        [
            (
                str(row.index), row.text, row.answer.strip(), row.wrong.strip(), _signed(row.plain),
                _signed(row.circuit), "wrong" if row.circuit <= 0 else "",
            )
            for row in rows[:SHOWN]
        ],
        right=("prompt", "M", "circuit"),
    )  # fmt: skip
    _print_more(len(rows))


def _print_more(count: int) -> None:
    if count > SHOWN:
        output.print_line(f"and {count - SHOWN} more prompts, which --json lists")


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}".replace("-0.000", "+0.000")
