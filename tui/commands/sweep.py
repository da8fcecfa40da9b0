"""``circuit-tui sweep``: many searches, with their results in one file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuit_tui.core.errors import UserError
from circuit_tui.core.search.registry import DEFAULT_METHOD, DEFAULT_TARGET, METHODS
from circuit_tui.tui.commands import number_list, options, output, progress
from circuit_tui.tui.commands import sweep_options as lists
from circuit_tui.tui.commands.boundary import DONE, INTERRUPTED, NO, log_path
from circuit_tui.tui.commands.opening import Opening, opening_flags

if TYPE_CHECKING:
    from circuit_tui.core.opening.request import OpenRequest
    from circuit_tui.core.runs.order import RunOrder
    from circuit_tui.core.runs.record import RunRecord
    from circuit_tui.core.runs.sweep import SweepState
    from circuit_tui.core.workers.pool import WorkerPool

Row = dict[str, Any]


@opening_flags(without=("task", "prompts", "sites"))
def sweep(
    opening: Opening,
    out: lists.ResultsOut,
    tasks: lists.Tasks = None,
    prompts: lists.PromptFiles = None,
    methods: lists.Methods = None,
    targets: lists.Targets = str(DEFAULT_TARGET),
    seeds: lists.Seeds = "1",
    sites: lists.Sites = None,
    settings: lists.Settings = None,
    jobs: lists.Jobs = None,
    ray: lists.Ray = None,
    force: options.Force = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Run many searches: every task with every choice of sites, method, setting, target and seed.

    The results go into one SQLite file, each as soon as its run is finished. The same command again does only the runs
    that are missing there or have failed. Exits 1 if a run failed; the others are done nevertheless.
    """
    if opening.circuit is not None:  # so that flags that repeat what the circuit file says are refused
        opening = replace(opening, task=tasks[0] if tasks else None, prompts=prompts[0] if prompts else None)
    base = opening.request()
    orders = _orders(base, tasks, prompts, methods, targets, seeds, sites, settings)
    from circuit_tui.core.outputs.file_kind import RESULTS_FILE

    replace_file = options.check_replacing(out, force=force, continues=RESULTS_FILE) not in (None, RESULTS_FILE)
    with output.quiet(debug=debug):
        state = _run(orders, out, opening.device, jobs, ray, replace_file=replace_file)
    if state is None:
        return INTERRUPTED
    from circuit_tui.core.runs.results_file import read_rows

    rows = summary(read_rows(out, [order.id for order in orders]))
    failed = [{"run": str(order), "id": order.id, "error": error} for order, error in state.failed]
    if json:
        counts = {"runs": state.total, "found": state.already_done, "done": state.done}
        output.print_json({"file": str(out), **counts, "failed": failed, "summary": rows})
    else:
        _print(rows)
    for each in failed:
        progress.say(f"failed: {each['run']}: {each['error']}")
    progress.say(f"{out}: {state.done} runs done, {state.already_done} done before, {len(failed)} failed")
    return NO if failed else DONE


def _orders(
    base: OpenRequest,
    tasks: Sequence[str] | None,
    prompts: Sequence[Path] | None,
    methods: Sequence[str] | None,
    targets: str,
    seeds: str,
    sites: Sequence[str] | None,
    settings: Sequence[str] | None,
) -> list[RunOrder]:
    from circuit_tui.core.models.presets import default_task, preset_of, tasks_of
    from circuit_tui.core.runs.grid import Grid, orders_of
    from circuit_tui.core.tasks.builtin import names

    if base.circuit is not None:
        base = _named_by(base.circuit, base)
        tasks, prompts = [base.task] if base.task else None, [base.prompts] if base.prompts else None
        base = replace(base, circuit=None, task=None, prompts=None)
    chosen = lists.words("--tasks", tasks, tasks_of(base.model))
    for task in chosen:
        options.choice("--tasks", task, names())
    if not chosen and not prompts:
        if base.model is not None and preset_of(base.model) is None:
            raise UserError("--model: name tasks for it with --tasks A,B or --prompts FILE.jsonl")
        chosen = (default_task(base.model),)
    return orders_of(
        Grid(
            base=base,
            tasks=chosen,
            prompts=tuple(prompts or ()),
            methods=lists.words("--methods", methods, tuple(METHODS)) or (DEFAULT_METHOD,),
            targets=number_list.decimals("--targets", targets),
            seeds=number_list.seeds(seeds),
            sites=lists.sites(sites),
            settings=lists.settings(settings),
        )
    )


def _named_by(path: Path, base: OpenRequest) -> OpenRequest:
    """The request with which the circuit file at `path` was made."""
    from circuit_tui.core.circuits.circuit_file import read_circuit
    from circuit_tui.core.opening.open_circuit import request_of

    return request_of(read_circuit(path), base, path.parent)


def _run(
    orders: list[RunOrder], out: Path, device: str | None, jobs: int | None, ray: str | None, *, replace_file: bool
) -> SweepState | None:
    """Do the runs; returns None if Ctrl-C ended them. With `replace_file` another file at `out` makes way."""
    from circuit_tui.core.runs.results_file import ResultsFile
    from circuit_tui.core.runs.sweep import Sweep
    from circuit_tui.tui.commands.sweep_progress import SweepBar, ended

    with ResultsFile(out, replace=replace_file) as results:
        pool, jobs = _pool(device, jobs, ray)
        try:
            running = Sweep(orders, results, pool, jobs, lambda state: bar.show(state))
            with SweepBar() as bar:
                return running.run()
        except KeyboardInterrupt:
            over, total = ended(running.state), running.state.total
            progress.say(f"interrupted: {over} of {total} runs are finished; the same command does the rest")
            return None
        finally:
            pool.close()


def _pool(device: str | None, jobs: int | None, ray: str | None) -> tuple[WorkerPool[RunOrder, RunRecord], int]:
    from circuit_tui.core.runs.sweep import make_worker

    if ray is not None:
        from circuit_tui.core.workers.ray_pool import RayPool

        on_ray = RayPool(ray, make_worker, device, jobs)
        return on_ray, on_ray.jobs
    from circuit_tui.core.workers.process_pool import ProcessPool, threads_for

    jobs = jobs or 1
    return ProcessPool(make_worker, threads_for(jobs), log_path()), jobs


def summary(rows: Iterable[Row]) -> list[Row]:
    """The finished runs grouped by task, sites, method, settings and target, with medians over the seeds."""
    import statistics

    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row["status"] == "done":
            key = tuple(row[name] for name in ("task", "sites", "method", "settings", "target"))
            groups.setdefault(key, []).append(row)
    found = []
    for (task, sites, method, settings, target), runs in groups.items():
        sizes = [run["size"] for run in runs]
        found.append(
            {
                "task": task,
                "sites": sites,
                "method": method,
                "settings": settings,
                "target": target,
                "runs": len(runs),
                "reached": sum(run["reached"] for run in runs),
                "size": statistics.median(sizes),
                "size_min": min(sizes),
                "size_max": max(sizes),
                "train_faithfulness": statistics.median(run["train_faithfulness"] for run in runs),
                "test_faithfulness": statistics.median(run["test_faithfulness"] for run in runs),
                "seconds": statistics.median(run["seconds"] for run in runs),
            }
        )
    return found


def _print(rows: Sequence[Row]) -> None:
    if not rows:
        return
    headers = ("task", "sites", "method", "target", "reached", "nodes", "from", "to", "train f", "held-out f", "s")
    cells = []
    for row in rows:
        size = f"{row['size']:g}"
        cells.append(
            (
                row["task"],
                row["sites"],
                _named(row, rows),
                f"{row['target']:g}",
                f"{row['reached']}/{row['runs']}",
                size,
                str(row["size_min"]),
                str(row["size_max"]),
                output.number(row["train_faithfulness"]),
                output.number(row["test_faithfulness"]),
                output.number(row["seconds"], 1),
            )
        )
    output.print_table(headers, cells, right=headers[3:])


def _named(row: Row, rows: Sequence[Row]) -> str:
    """The method and those of its settings that differ within the table."""
    import json

    every = [json.loads(other["settings"]) for other in rows if other["method"] == row["method"]]
    own = json.loads(row["settings"])
    differ = [f"{name}={value}" for name, value in own.items() if any(each[name] != value for each in every)]
    return " ".join([row["method"], *differ])
