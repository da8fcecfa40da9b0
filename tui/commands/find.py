"""``circuit-tui find``: a search without a screen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from circuit_tui.core.errors import UserError
from circuit_tui.core.jobs.job import new_job
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.asked import asked_spec
from circuit_tui.core.search.registry import DEFAULT_METHOD
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.tui.commands import options, output, progress
from circuit_tui.tui.commands.boundary import DONE
from circuit_tui.tui.commands.memory_text import print_plan
from circuit_tui.tui.commands.opening import Opening, opening_flags
from circuit_tui.tui.commands.search_run import FrontierOut, run_search
from circuit_tui.tui.detached import start_detached

DEFAULT_EDGE_TARGET = 0.9


@opening_flags()
def find(
    opening: Opening,
    method: options.Method = DEFAULT_METHOD,
    target: options.Targets = None,
    objective: options.Objectives = None,
    slack: options.Slack = None,
    templates: options.Templates = False,
    robust: options.Robust = False,
    seed: options.Seed = 0,
    settings: options.Settings = None,
    out: options.Out = None,
    force: options.Force = False,
    detach: Annotated[bool, typer.Option("--detach", help="Search in the background; see `circuit-tui jobs`.")] = False,
    edges: Annotated[
        bool, typer.Option("--edges", help="Find its edges too, and drop those it does not need.")
    ] = False,
    edge_target: options.EdgeTarget = None,
    frontier: Annotated[
        Path | None, typer.Option(metavar="FILE.csv|.md|.svg", help="Where to write the frontier of the search.")
    ] = None,
    intervals: Annotated[
        bool, typer.Option("--intervals", help="With --frontier: 95% intervals of its held-out numbers.")
    ] = False,
    memory: options.Memory = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Search for a circuit, without a screen.

    Progress goes to stderr, the circuit to stdout. Exits 1 if the target was not reached on the search prompts.

    Ctrl-C stops the search and keeps what it has found so far; a second one leaves at once. However the search was cut
    off, `circuit-tui resume` continues it.
    """
    if edge_target is not None and not edges:
        raise UserError("--edge-target: only with --edges")
    if edges and detach:
        raise UserError("--edges: not with --detach; use `circuit-tui edges FILE.json --edge-target X` afterwards")
    frontier_out = _frontier_out(frontier, force=force, intervals=intervals, detach=detach)
    wanted = options.edge_target(DEFAULT_EDGE_TARGET if edge_target is None else edge_target) if edges else None
    ablations = options.ablations(opening.ablation, robust=robust)
    request = replace(opening, ablation=None if opening.ablation is None else ablations[0]).request(seed)
    if edges and request.dtype not in (None, "float32"):
        raise UserError(f"--edges: computed in float32, not in {request.dtype}; use `circuit-tui edges` afterwards")
    if memory:
        return print_plan(request, json=json, debug=debug)
    given = options.given_settings(settings)
    spec = asked_spec(
        method, seed, given, target or (), objective, ablations, slack=slack, templates=templates, robust=robust
    ).complete()
    if detach:
        with options.claimed_out(out, force=force):
            pass  # the other process claims it again
        return _detach(request, spec, out, force=force, json=json)
    with options.claimed_out(out, force=force):
        try:
            job = new_job("find", request, spec, out, force=force)
        except OSError as error:
            progress.say(f"warning: nothing is kept for a restart: {error}")
            job = None
        told = {"force": force, "json": json, "debug": debug}
        return run_search(job, request, spec, out, **told, edge_target=wanted, frontier=frontier_out)


def _frontier_out(path: Path | None, *, force: bool, intervals: bool, detach: bool) -> FrontierOut | None:
    """What --frontier and --intervals ask for. Raises a `UserError` if it cannot be written."""
    if path is None:
        if intervals:
            raise UserError("--intervals: only with --frontier FILE, into which they go")
        return None
    if detach:
        raise UserError("--frontier: not with --detach, which keeps the circuit alone")
    options.check_table("--frontier", path, force=force)
    return FrontierOut(path, force, intervals)


def _detach(request: OpenRequest, spec: SearchSpec, out: Path | None, *, force: bool, json: bool) -> int:
    """Start the search in a process of its own, which does not end with the terminal."""
    job = new_job("detached", request, spec, out, force=force)
    pid = start_detached(job)
    if json:
        output.print_json({"job": job.name, "pid": pid, "folder": str(job.folder), "log": str(job.log)})
    else:
        output.print_line(f"job {job.name}, process {pid}; `circuit-tui jobs` shows its progress, {job.log} its output")
    return DONE
