"""``circuit-tui compare``: the frontiers of several methods side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuit_tui.core.errors import UserError
from circuit_tui.core.search import registry
from circuit_tui.tui.commands import number_list, options, output, progress
from circuit_tui.tui.commands.boundary import DONE, INTERRUPTED, NO
from circuit_tui.tui.commands.comparison_run import ComparisonRun
from circuit_tui.tui.commands.interrupt import on_interrupt
from circuit_tui.tui.commands.opening import Opening, opening_flags

if TYPE_CHECKING:
    from circuit_tui.core.runs.comparison import Comparison
    from circuit_tui.core.runs.plan import GridValues

ALL_METHODS = ",".join(registry.METHODS)
Tasks = Annotated[list[str] | None, typer.Option("--task", metavar="NAME", help="A built-in task; repeat for more.")]
PromptFiles = Annotated[
    list[Path] | None, typer.Option("--prompts", metavar="FILE.jsonl", help="Prompts of your own; repeat for more.")
]
Methods = Annotated[
    str,
    typer.Option(metavar="A,B,…", help=f"{', '.join(registry.METHODS)}; settings follow, as in ig:errors=true."),
]
Seeds = Annotated[str, typer.Option(metavar="N|A,B,…", help="How many seeds, or which.")]
Targets = Annotated[str, typer.Option(metavar="X,…", help="For methods that take a target; others get the last.")]
Lambdas = Annotated[str | None, typer.Option(metavar="X,…", help="Penalties, for methods that take one.")]
Sizes = Annotated[str | None, typer.Option(metavar="N,…", help="Sizes, for methods that take one.")]
Earlier = Annotated[
    list[Path] | None, typer.Option("--from", metavar="FILE", help="A comparison or sweep whose runs are used too.")
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FILE.json", help="The comparison, written after every run; continued if it exists."),
]
Picture = Annotated[Path | None, typer.Option(metavar="FILE.svg|.pdf|.png", help="Where to draw the frontiers.")]


@opening_flags(without=("task", "prompts"))
def compare(
    opening: Opening,
    task: Tasks = None,
    prompts: PromptFiles = None,
    methods: Methods = ALL_METHODS,
    seeds: Seeds = "3",
    targets: Targets = "0.8,0.9,0.95,0.99",
    lambdas: Lambdas = None,
    sizes: Sizes = None,
    earlier: Earlier = None,
    out: Out = None,
    picture: Picture = None,
    force: options.Force = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Compare the frontiers of several methods on the same tasks, nodes, ablation and prompts.

    Circuits are chosen on the search prompts and measured on held-out ones. Exits 1 if a method refused a task.

    With --from, runs that a file already has are not repeated; with --from and nothing to open, nothing is run.

    Ctrl-C ends the command and shows the finished runs; a second one leaves at once. However the command ended, the
    same command with the same --out continues it.
    """
    from circuit_tui.core.outputs.file_kind import COMPARISON
    from circuit_tui.core.runs import plan
    from circuit_tui.core.runs.picture import check_picture

    chosen = plan.parse_variants(methods)
    grids = _grids(targets, lambdas, sizes)
    plan.plan_runs(chosen, grids, number_list.seeds(seeds), max(grids.sizes, default=1))  # refuses values out of range
    if picture is not None:
        check_picture(picture)
        if out is not None and options.same_file(out, picture):
            raise UserError(f"--out and --picture: both name {picture}")
    places: list[tuple[str | None, Path | None]] = [(name, None) for name in task or ()]
    places += [(None, path) for path in prompts or ()]
    nothing_to_open = not (places or opening.model or opening.circuit or opening.sae or opening.sae_dir)
    requests = [replace(opening, task=name, prompts=path).request() for name, path in places or [(None, None)]]
    shows_earlier = bool(earlier) and nothing_to_open
    continues = "" if shows_earlier else COMPARISON
    with (
        options.claimed_out(picture, force=force),
        options.claimed_out(out, force=force, continues=continues) as found,
        output.quiet(debug=debug),
    ):
        running = ComparisonRun(chosen, grids, number_list.seeds(seeds), out)
        for path in earlier or ():
            running.add_earlier(path)
        if not shows_earlier:
            if out is not None and found == COMPARISON:
                running.continue_from(out, force=force)
            with on_interrupt(running.stop):
                for number, request in enumerate(requests, 1):
                    where = f"task {number}/{len(requests)} " if len(requests) > 1 else ""
                    try:
                        running.task(request, where)
                    except UserError as error:  # other tasks may work, and what is finished is still shown
                        running.refuse_task(request, error)
        comparison = running.comparison()
        if out is not None:
            progress.say(f"wrote {running.write(out)}")
        if picture is not None and comparison.tasks:
            from circuit_tui.core.runs.picture import draw_comparison

            progress.say(f"wrote {draw_comparison(comparison, picture)}")
    return _finish(comparison, json=json, stopped=running.stopped)


def _finish(comparison: Comparison, *, json: bool, stopped: bool) -> int:
    if json:
        output.print_json(comparison.data())
    else:
        from circuit_tui.tui.commands.comparison_text import print_comparison

        print_comparison(comparison)
    if stopped:
        progress.say("interrupted: these are the finished runs")
        return INTERRUPTED
    if comparison.refused and not comparison.tasks:
        raise UserError(comparison.refused[0].reason)
    return NO if comparison.refused else DONE


def _grids(targets: str, lambdas: str | None, sizes: str | None) -> GridValues:
    from circuit_tui.core.runs.plan import GridValues

    grids = GridValues(targets=number_list.decimals("--targets", targets))
    if lambdas is not None:
        grids = replace(grids, lambdas=number_list.decimals("--lambdas", lambdas))
    if sizes is not None:
        grids = replace(grids, sizes=number_list.whole("--sizes", sizes, 1))
    for value in grids.targets:
        if not 0 < value < 1:
            raise UserError(f"--targets {value:g}: must lie between 0 and 1")
    for value in grids.lambdas:
        if value < 0:
            raise UserError(f"--lambdas {value:g}: must not be negative")
    return grids
