"""A whole search against the published recipe at one lambda, and whether what was measured was a search.

The default search runs once to its end, all of its stages. Of the recipe's steps and of the bare layers' some are run
and the time is scaled to all: nothing in a step depends on the mask.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from bare_layers import bare_pass
from device_peak import CLOCKS, elapsed, synchronise
from published import STEPS, Recipe

from circuit_tui.core.errors import NoResult, UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.methods.mask import default_batch_size
from circuit_tui.core.search.open_search import open_search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem

TARGET = 0.95
LARGEST_SHARE = 0.5
"""A circuit of a larger share of the candidates is none that a search has found."""


@dataclass
class SearchRun:
    """One search.

    Attributes:
        seconds: how long it took.
        stages: seconds of each stage.
        found: nodes, faithfulness, whether the target was reached; empty if there is no result.
        why_not: why this was no search whose time means anything; empty if it was one.
    """

    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)
    why_not: str = ""


def run_search(problem: Problem, steps: int, clock: str = "wall", limit: float = math.inf) -> SearchRun:
    """Runs the default search with so many optimisation steps; leaves it after `limit` seconds of wall time.

    What `find` would refuse to search is not searched.
    """
    device, read, run = problem.model.device, CLOCKS[clock], SearchRun()
    train, test = (Evaluator(problem, split) for split in ("train", "test"))
    try:
        search = open_search(problem, train, test, SearchSpec("mask", TARGET, 0, {"steps": steps}))
    except UserError as error:
        return SearchRun(why_not=str(error))
    losses = list[float]()
    start = before = read()
    end = time.monotonic() + limit
    try:
        for told in search:
            synchronise(device)
            now = read()
            run.stages[told.stage] = run.stages.get(told.stage, 0.0) + now - before
            before = now
            losses += [] if told.loss is None else [told.loss]
            if time.monotonic() > end:
                run.why_not = f"it was not over after {limit:.0f} s, in the stage {told.stage}"
                break
    except NoResult as error:
        run.why_not = str(error)
    run.seconds = read() - start
    result = search.result
    if result is not None:
        faithfulness = result.train.faithfulness
        run.found = {
            "nodes": len(result.nodes), "faithfulness": faithfulness, "reached": result.reached,
            "path": result.step_path,
        }  # fmt: skip
        diverged = search.attempt.loops.diverged
        run.why_not = why_no_search(len(result.nodes), len(problem.space), faithfulness, losses, diverged)
    return run


def why_no_search(size: int, candidates: int, faithfulness: float, losses: Iterable[float], diverged: str = "") -> str:
    """Why a search that ended with `size` of the `candidates` has not searched; empty if it has.

    It has if every one of its `losses` is finite, its optimisation did not diverge, and its circuit has a faithfulness
    and at most `LARGEST_SHARE` of the candidates. Whether it reached the target is another question.
    """
    losses = list(losses)
    if diverged:
        return f"its optimisation was cut short, because {diverged}"
    if not losses:
        return "it has not optimised"
    if not all(map(math.isfinite, losses)):
        return f"the loss of step {next(i for i, loss in enumerate(losses) if not math.isfinite(loss))} is not finite"
    if not math.isfinite(faithfulness):
        return f"the faithfulness of its circuit is {faithfulness}"
    if not 0 < size <= LARGEST_SHARE * candidates:
        return f"it ended with {size} of {candidates} nodes"
    return ""


def whole_search(
    problem: Problem, steps: int, recipe_steps: int, clock: str = "wall", limit: float = math.inf
) -> dict[str, Any]:
    """Seconds of ours, and of its stages; of the recipe and of bare steps, scaled up from some; what ours found."""
    run = run_search(problem, steps, clock, limit)
    published, bare = published_run(problem, recipe_steps, clock)
    return {
        "ours": run.seconds, "stages": run.stages, "published": published * STEPS, "recipe_steps_run": recipe_steps,
        "recipe_steps": STEPS, "bare": bare * steps, "steps": steps, "candidates": len(problem.space), **run.found,
        "why_not": run.why_not,
    }  # fmt: skip


def published_run(problem: Problem, steps: int, clock: str) -> tuple[float, float]:
    """Mean seconds of a step of the recipe, on the 16 prompts it takes, and of the bare layers on ours."""
    device = problem.model.device
    recipe, n = Recipe(problem), len(problem.splits["train"])
    bare, generator = bare_pass(problem, "train", True, default_batch_size(n)), torch.Generator().manual_seed(0)
    seconds, without = [], []
    for step in range(steps + 1):
        chosen = torch.randperm(n, generator=generator)[:16].to(device)
        seconds.append(elapsed(partial(recipe.step, chosen, step / steps), device, clock))
        without.append(elapsed(bare, device, clock))
    return sum(seconds[1:]) / steps, sum(without[1:]) / steps  # the first warms up
