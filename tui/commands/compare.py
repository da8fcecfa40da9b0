"""``circuit-tui compare``: the frontiers of several methods side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuit_tui.core.errors import UserError
from circuit_tui.core.request import OpenRequest
from circuit_tui.core.search import registry
from circuit_tui.tui.commands import number_list, options, output, progress
from circuit_tui.tui.commands.boundary import DONE, INTERRUPTED, NO
from circuit_tui.tui.commands.interrupt import on_interrupt
from circuit_tui.tui.commands.runs_progress import RunsBar

if TYPE_CHECKING:
    from circuit_tui.core.runs.comparison import Comparison, Refusal
    from circuit_tui.core.runs.plan import Grids, Variant
    from circuit_tui.core.runs.record import RunRecord
    from circuit_tui.core.search.search import Search
    from circuit_tui.core.snapshot import SearchProgress

ALL_METHODS = ",".join(registry.METHODS)
Tasks = Annotated[list[str] | None, typer.Option("--task", metavar="NAME", help="A built-in task; repeat for more.")]
PromptFiles = Annotated[
    list[Path] | None, typer.Option("--prompts", metavar="FILE.jsonl", help="Prompts of your own; repeat for more.")
]
Methods = Annotated[
    str,
    typer.Option(metavar="A,B,…", help=f"Of {', '.join(registry.METHODS)}; settings follow, as in ig:errors=true."),
]
Seeds = Annotated[str, typer.Option(metavar="N|A,B,…", help="How many seeds, or which.")]
Targets = Annotated[str, typer.Option(metavar="X,…", help="For methods that are given a target; others see the last.")]
Lambdas = Annotated[str | None, typer.Option(metavar="X,…", help="Penalties, for methods that are given one.")]
Sizes = Annotated[str | None, typer.Option(metavar="N,…", help="Sizes, for methods that are given one.")]
Earlier = Annotated[
    list[Path] | None, typer.Option("--from", metavar="FILE", help="A comparison or a sweep whose runs count too.")
]
Out = Annotated[Path | None, typer.Option(metavar="FILE.json", help="Where to write the comparison, after every run.")]
Picture = Annotated[Path | None, typer.Option(metavar="FILE.svg|.pdf|.png", help="Where to draw the frontiers.")]


def compare(
    model: options.Model = None,
    sae: options.Sae = None,
    layers: options.Layers = None,
    every: options.Every = None,
    width: options.Width = None,
    l0: options.L0 = None,
    sae_dir: options.SaeDir = None,
    task: Tasks = None,
    prompts: PromptFiles = None,
    chat: options.Chat = False,
    circuit: options.Circuit = None,
    positions: options.Positions = None,
    ablation: options.Ablation = None,
    errors: options.Errors = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    batch: options.Batch = None,
    methods: Methods = ALL_METHODS,
    seeds: Seeds = "3",
    targets: Targets = "0.8,0.9,0.95,0.99",
    lambdas: Lambdas = None,
    sizes: Sizes = None,
    earlier: Earlier = None,
    out: Out = None,
    picture: Picture = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Frontiers of several methods on the same tasks, nodes, ablation and prompts.

    Circuits are chosen on the search prompts and read on held-out ones. Exits 1 if a method refused a task.

    With --from, runs that a file already has are not done again; with --from and nothing to open, none are.

    Ctrl-C ends after the finished runs and shows them; a second one leaves at once.
    """
    from circuit_tui.core.runs import plan
    from circuit_tui.core.runs.picture import check_picture

    chosen = plan.variants(methods)
    grids = _grids(targets, lambdas, sizes)
    plan.plan(chosen, grids, number_list.seeds(seeds), max(grids.sizes, default=1))  # refuses what is out of range
    if out is not None:
        options.check_out(out)
    if picture is not None:
        check_picture(picture)
    places: list[tuple[str | None, Path | None]] = [(name, None) for name in task or ()]
    places += [(None, path) for path in prompts or ()]
    nothing_to_open = not (places or model or circuit or sae or sae_dir)
    requests = [
        options.open_request(
            model=model,
            sae=sae,
            layers=layers,
            every=every,
            width=width,
            l0=l0,
            sae_dir=sae_dir,
            task=name,
            prompts=path,
            chat=chat,
            circuit=circuit,
            positions=positions,
            ablation=ablation,
            errors=errors,
            device=device,
            dtype=dtype,
            batch=batch,
        )
        for name, path in places or [(None, None)]
    ]
    with output.quiet(debug=debug):
        comparing = _Comparing(earlier or (), chosen, grids, number_list.seeds(seeds), out)
        if not (earlier and nothing_to_open):
            with on_interrupt(comparing.stop):
                for number, request in enumerate(requests, 1):
                    where = f"task {number}/{len(requests)} " if len(requests) > 1 else ""
                    try:
                        comparing.task(request, where)
                    except UserError as error:  # the other tasks may do, and what is finished is to be shown
                        comparing.leave_out(request, error)
        comparison = comparing.comparison()
        if out is not None:
            progress.say(f"wrote {comparing.write(out)}")
        if picture is not None and comparison.tasks:
            from circuit_tui.core.runs.picture import draw

            progress.say(f"wrote {draw(comparison, picture)}")
    return _finish(comparison, json=json, stopped=comparing.stopped)


def _finish(comparison: Comparison, *, json: bool, stopped: bool) -> int:
    if json:
        output.print_json(comparison.data())
    else:
        from circuit_tui.tui.commands.comparison_text import print_comparison

        print_comparison(comparison)
    if stopped:
        progress.say("interrupted: these are the runs that were finished")
        return INTERRUPTED
    if comparison.refused and not comparison.tasks:
        raise UserError(comparison.refused[0].reason)
    return NO if comparison.refused else DONE


def _grids(targets: str, lambdas: str | None, sizes: str | None) -> Grids:
    from circuit_tui.core.runs.plan import Grids

    grids = Grids(targets=number_list.decimals("--targets", targets))
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


class _Comparing:
    """The runs so far, task by task."""

    def __init__(
        self,
        earlier: Sequence[Path],
        chosen: Sequence[Variant],
        grids: Grids,
        seeds: Sequence[int],
        out: Path | None,
    ) -> None:
        from circuit_tui.core.runs.earlier import read_earlier

        self.stopped = False
        self._chosen, self._grids, self._seeds, self._out = chosen, grids, seeds, out
        self._records: list[RunRecord] = []
        self._refused: list[Refusal] = []
        self._complete = True
        for path in earlier:
            read = read_earlier(path)
            self._complete = self._complete and read.complete
            self._records += [record for record in read.records if record not in self._records]
            self._refused += [refusal for refusal in read.refused if refusal not in self._refused]

    def stop(self) -> None:
        """Ends with the runs that are finished."""
        self.stopped = True

    def comparison(self) -> Comparison:
        """What follows from the runs so far."""
        from circuit_tui.core.runs.comparison import Comparison

        return Comparison.of(self._records, self._refused, complete=self._complete and not self.stopped)

    def write(self, path: Path) -> Path:
        """Writes what follows from the runs so far."""
        from circuit_tui.core.runs.comparison import write_comparison

        return write_comparison(self.comparison(), path)

    def leave_out(self, request: OpenRequest, error: UserError) -> None:
        """Notes that a task cannot be compared on at all."""
        from circuit_tui.core.runs.comparison import Refusal

        name = request.task or (request.prompts.stem if request.prompts else "the task")
        self._refused.append(Refusal(task=name, label="every method", reason=str(error)))
        progress.say(f"{name} left out: {error}")

    def task(self, request: OpenRequest, where: str) -> None:
        """All runs on one task that are not known yet.

        Raises:
            UserError: it cannot be opened.
        """
        if self.stopped:
            return
        progress.say(f"{where}loading …")
        from circuit_tui.core.runs.comparison import Refusal
        from circuit_tui.core.runs.plan import plan
        from circuit_tui.core.runs.run_one import subject_of
        from circuit_tui.core.runs.series import Series
        from circuit_tui.core.session import open_session

        session = open_session(request, progress.loading)
        for warning in session.info.warnings:
            progress.say(f"warning: {warning}")
        subject = subject_of(session)
        known = [record.spec for record in self._records if record.subject == subject]
        specs = plan(self._chosen, self._grids, self._seeds, subject.candidates)
        series = Series(session, [spec for spec in specs if spec not in known])
        total = len(series)
        with RunsBar(f"{where}{subject.task}", total) as bar:

            def watch(search: Search, step: SearchProgress) -> None:
                if self.stopped:
                    search.stop()
                share = min(1.0, step.step / max(1, step.steps))
                bar.show(series.name, total - len(series) + share, series.seconds_left(share))

            for record in series.run(watch):
                if isinstance(record, Refusal):
                    self._refused.append(record)
                    progress.say(f"{record.label} left out: {record.reason}")
                else:
                    self._records.append(record)
                    if self._out is not None:
                        self.write(self._out)
