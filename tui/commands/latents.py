"""``circuit-tui latents``: what each latent of a circuit does, as a list or one latent closely."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.node_filter import SORT_COLUMNS, parse_filter
from circuit_tui.tui.commands import options, output, progress
from circuit_tui.tui.commands.boundary import DONE, NO
from circuit_tui.tui.commands.open_file import open_file_session
from circuit_tui.tui.commands.opening import Reopening, reopening_flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circuit_tui.core.session.listed_latents import ListedLatent
    from circuit_tui.core.session.session import Session
    from circuit_tui.core.views import ActivationBand, LatentView, TextExamples

AT_EACH_END = 4  # of the answers, from which a latent's weight may be one of dozens


@reopening_flags
def latents(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="The circuit file.")],
    latent: Annotated[str | None, typer.Option(metavar="L2/210", help="Show this latent closely.")] = None,
    text: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --latent: where it fires in this text of yours.")
    ] = None,
    filter: Annotated[str, typer.Option(metavar="TERMS", help='Which, such as "effect>0.02 pos=end".')] = "",
    sort: Annotated[str, typer.Option(metavar="COLUMN", help="Column that sorts the list.")] = "latent",
    reverse: Annotated[bool, typer.Option("--reverse", help="Turn the order round.")] = False,
    by_site: Annotated[bool, typer.Option("--by-site", help="Sort within each site.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.csv|.md|.svg", help="Write the list, or --latent closely, there too.")
    ] = None,
    force: options.Force = False,
    everything: Annotated[bool, typer.Option("--all", help="List all candidates, not only kept ones.")] = False,
    *,
    reopening: Reopening,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """List the latents of a circuit: their effect on the answers, the tokens they promote. Exits 1 if none matches."""
    parse_filter(filter)
    options.check_table("--out", out, force=force)
    options.choice("--sort", sort, SORT_COLUMNS)
    options.check_text(text)
    if text is not None and latent is None:
        raise UserError("--text: only with --latent, whose activations on it are shown")
    if text is not None and out is not None:
        raise UserError("--text and --out: give one of them; --json has everything")
    request = reopening.request()
    with output.quiet(debug=debug):
        session = open_file_session(file, request)
        view = None if latent is None else _view(session, latent)
        found = None if view is None or text is None else session.text_examples(view.site, view.latent, text)
        from circuit_tui.core.session.listed_latents import listed_latents

        if view is None:
            progress.say("computing every number")
            progress.finish_background_work(session)
        rows = (
            listed_latents(session, filter, sort, reverse=reverse, everything=everything, by_site=by_site)
            if view is None
            else ()
        )
        if out is not None:
            from circuit_tui.core.outputs.table_file import write_table
            from circuit_tui.core.session.tables import latent_table, latents_table

            table = latents_table(rows, filter) if view is None else latent_table(view, session.table)
            progress.say(f"wrote {write_table(table, out, force=force)}")
    if found is not None and view is not None:
        _print_text(found, f"{session.table.sites[view.site].short}/{view.latent}", json=json)
        return DONE
    if view is not None:
        _print_closely(session, file, view, json=json)
        return DONE
    if json:
        output.print_json({"file": str(file), "filter": filter, "sort": sort, "latents": [*map(asdict, rows)]})
    elif rows:
        _print(rows)
    else:
        output.print_line("no latent matches")
    return DONE if rows else NO


def _view(session: Session, text: str) -> LatentView:
    from circuit_tui.core.latents.address import parse_address

    address = parse_address(text, session.table)
    return session.latent_view(address.site, address.latent)


def _print(rows: Sequence[ListedLatent]) -> None:
    numbers = ("clean", "corrupt", "diff", "freq", "effect", "push")
    output.print_table(
        ("latent", "on at", "label", *numbers, "promotes", "suppresses"),
        [
            (
                f"{row.site}/{row.latent}",
                " ".join(row.kept) or "–",
                row.label,
                *(output.number(getattr(row, name)) for name in numbers),
                _tokens(row.promotes[:3]),
                _tokens(row.suppresses[:3]),
            )
            for row in rows
        ],
        right=numbers,
    )


def _print_closely(session: Session, file: Path, view: LatentView, *, json: bool) -> None:
    site = session.table.sites[view.site]
    if json:
        output.print_json({"file": str(file), "hook": site.hook, **asdict(view), "site": site.short})
        return
    output.print_line(f"{site.short}/{view.latent}  {view.label or 'no label'}  ({site.sae_name})", style="bold")
    output.print_line()
    output.print_table(
        ("position", "clean", "corrupt"),
        [(name, output.number(clean), output.number(corrupt)) for name, clean, corrupt in view.profile],
        right=("clean", "corrupt"),
    )
    cap = "" if view.soft_cap is None else f" (before the logits' soft cap of {view.soft_cap:g})"
    output.print_line(f"\nlogit weights{cap}")
    for title, tokens in (("promotes", view.promotes), ("suppresses", view.suppresses), ("answers", view.answers)):
        words = [f"{_token(token)} {output.number(weight, 2)}" for token, weight in tokens]
        shown = words if len(words) <= 2 * AT_EACH_END else [*words[:AT_EACH_END], "…", *words[-AT_EACH_END:]]
        output.print_line(f"{title}: {', '.join(shown)}")
    output.print_line("\nprompts on which it fires")
    _print_bands(view.bands)


def _print_bands(bands: Sequence[ActivationBand]) -> None:
    for number, band in enumerate(bands):
        title = "the most active" if number == 0 else f"up to {band.high:.2f}: {band.count}"
        output.print_line(f"  {title}", style="bold")
        for prompt in band.examples:
            wrong = ", answered wrong" if prompt.right is False else ""
            output.print_line(f"{prompt.peak:8.2f}  {''.join(prompt.tokens).strip()}  ({prompt.side}{wrong})")


def _print_text(found: TextExamples, name: str, *, json: bool) -> None:
    if json:
        output.print_json({"latent": name, **asdict(found)})
        return
    share = found.n_firing / found.n_tokens
    output.print_line(f"{name} fires on {found.n_firing} of {found.n_tokens} tokens of {found.path} ({share:.2%})")
    _print_bands(found.bands)


def _tokens(tokens: Sequence[str]) -> str:
    return " ".join(map(_token, tokens))


def _token(token: str) -> str:
    """A token on one line, in which a blank is seen."""
    return (token if token.isprintable() else ascii(token)[1:-1]).replace(" ", "␣")
