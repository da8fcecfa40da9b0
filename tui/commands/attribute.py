"""``circuit-tui attribute``: what adds up to a token's logit or a latent on a prompt, back to the embeddings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuit_tui.core.errors import UserError
from circuit_tui.tui.commands import options, output, progress
from circuit_tui.tui.commands.boundary import DONE
from circuit_tui.tui.commands.open_file import request_for
from circuit_tui.tui.commands.opening import Reopening, reopening_flags
from circuit_tui.tui.commands.score_table import print_score

if TYPE_CHECKING:
    from circuit_tui.core.attribution.parts import AttributionPart
    from circuit_tui.core.attribution.plain_run import PlainRun
    from circuit_tui.core.attribution.tree import Tree


@reopening_flags
def attribute(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="The circuit file.")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="Any prompt.")],
    of: Annotated[
        str | None, typer.Option(metavar="TOKEN|L2/45", help="What to take apart. [the likeliest next token]")
    ] = None,
    minus: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="A token whose logit is subtracted: a logit difference.")
    ] = None,
    at: Annotated[int | None, typer.Option(metavar="N", help="The token it stands at, from 0. [the last]")] = None,
    head: Annotated[
        str | None, typer.Option(metavar="BLOCK.HEAD", help="Why this head looks from --at to --from, instead.")
    ] = None,
    source: Annotated[
        int | None, typer.Option("--from", metavar="N", help="With --head: the token it looks at.")
    ] = None,
    depth: Annotated[int, typer.Option(min=1, metavar="N", help="How often latents are expanded again.")] = 1,
    parts: Annotated[int, typer.Option(min=1, metavar="N", help="How many parts each expansion lists.")] = 8,
    *,
    reopening: Reopening,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Take a logit or a latent of M apart on any prompt: direct feature attribution, latent by latent, back to tokens.

    Attention patterns, norm scales and MLP outputs are held. The parts of each expansion add up to its value; what no
    latent explains (SAE errors, tokens without SAE) is among them. A latent of the file's circuit is marked with *.
    """
    request = reopening.request()
    from circuit_tui.core.circuits.circuit_file import read_circuit
    from circuit_tui.core.prompting.report import FreePrompt

    claimed = read_circuit(file)
    FreePrompt(prompt).check()
    if (head is None) != (source is None):
        raise UserError("--head and --from: give both, or neither")
    if head is not None and (of, minus) != (None, None):
        raise UserError("--head: a score is taken apart, so leave --of and --minus out")
    with output.quiet(debug=debug):
        progress.say("loading …")
        from circuit_tui.core.attribution.tree import attribution_tree, find_target, open_run
        from circuit_tui.core.opening.float32 import open_problem_float32

        # Small parts are sums of large numbers that cancel: half precision would lose them.
        opened = open_problem_float32(
            request_for(claimed, request, file.expanduser().parent), progress.loading, claimed
        )
        run = open_run(opened, prompt)
        if head is not None and source is not None:
            from circuit_tui.core.attribution.head_score import head_score, parse_head

            score = head_score(run, *parse_head(head), len(run.tokens) - 1 if at is None else at, source, parts)
        else:
            score = None
            tree = attribution_tree(run, find_target(run, of, minus, at), depth, parts)
    in_circuit = {(hook, latent) for hook, _, latent in claimed.nodes()}
    about = {"file": str(file), "prompt": prompt, "tokens": run.texts}
    if json:
        output.print_json(about | (asdict(score) if score is not None else _plain(run, tree, in_circuit)))
    elif score is not None:
        print_score(score, run.texts, [site.short for site in run.sites])
    else:
        _print(run, tree, in_circuit)
    return DONE


def _plain(run: PlainRun, tree: Tree, in_circuit: set[tuple[str, int]]) -> dict[str, Any]:
    """A tree as plain values; sites by their hooks."""
    expansion = tree.expansion
    target = asdict(expansion.target)
    if "site" in target:
        target["site"] = run.sites[target["site"]].hook
    return {
        "target": target,
        "value": expansion.value,
        "total": expansion.total,
        "unexplained": expansion.unexplained,
        "parts": [
            {
                **asdict(branch.part),
                "site": None if branch.part.site is None else run.sites[branch.part.site].hook,
                "in_circuit": _is_in(run, branch.part, in_circuit),
                "expansion": None if branch.tree is None else _plain(run, branch.tree, in_circuit),
            }
            for branch in tree.branches
        ],
    }


def _is_in(run: PlainRun, part: AttributionPart, in_circuit: set[tuple[str, int]]) -> bool:
    if part.kind != "latent" or part.site is None or part.latent is None:
        return False
    return (run.sites[part.site].hook, part.latent) in in_circuit


def _print(run: PlainRun, tree: Tree, in_circuit: set[tuple[str, int]]) -> None:
    output.print_line(" ".join(f"{index}:{text.strip() or text!r}" for index, text in enumerate(run.texts)))
    output.print_line()
    from circuit_tui.core.attribution.tree import target_text

    rows = [(target_text(run, tree.expansion.target), "", output.number(tree.expansion.value), "")]
    rows += _rows(run, tree, in_circuit, 1)
    output.print_table(("what", "through", "adds", "of the value"), rows, right=("adds", "of the value"))
    output.print_line()
    share = tree.expansion.unexplained / tree.expansion.value if tree.expansion.value else float("nan")
    output.print_line(
        f"the parts add up to {output.number(tree.expansion.total)}; what no latent explains gives "
        f"{output.number(tree.expansion.unexplained)} ({share:.0%})"
    )


def _rows(run: PlainRun, tree: Tree, in_circuit: set[tuple[str, int]], indent: int) -> list[tuple[str, str, str, str]]:
    rows = []
    for branch in tree.branches:
        part = branch.part
        share = part.value / tree.expansion.value if tree.expansion.value else float("nan")
        mark = "*" if _is_in(run, part, in_circuit) else ""
        rows.append((f"{'  ' * indent}{_name(run, part)}{mark}", _way(part), output.number(part.value), f"{share:.0%}"))
        if branch.tree is not None:
            rows += _rows(run, branch.tree, in_circuit, indent + 1)
    return rows


def _name(run: PlainRun, part: AttributionPart) -> str:
    from circuit_tui.core.attribution.parts import part_text

    where = "" if part.token is None else f" at {part.token}:{run.texts[part.token].strip()}"
    short = "" if part.site is None else run.sites[part.site].short
    return part_text(part, short, where)


def _way(part: AttributionPart) -> str:
    if part.head is not None:
        return f"head {part.head[0]}.{part.head[1]}"
    return "" if part.token is None else "past all heads"
