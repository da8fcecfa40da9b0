"""Runs the search that found the circuit again, for the controls and the stability."""

from __future__ import annotations

from collections.abc import Generator

import torch

from circuit_tui.core.audit.finding import SearchRun, finite
from circuit_tui.core.audit.other_problems import with_train
from circuit_tui.core.audit.subject import Subject
from circuit_tui.core.evaluate import SLICE_PROMPTS, Evaluator
from circuit_tui.core.problem import Problem
from circuit_tui.core.search.open_search import new_search

QUICK_PROMPTS = 128
"""What a quick audit's searches see: a quarter of a built-in task's search prompts, and so of the time."""


def run_search(
    subject: Subject, problem: Problem, kind: str, seed: int, draw: int
) -> Generator[float | None, None, SearchRun]:
    """The subject's search on `problem` with `seed`; `draw` is the seed of what was done to the problem.

    Yields the share that is done. A search that an audit cut off had finished is not made again.
    """
    kept = subject.measured
    if kept is not None and (known := kept.run(kind, seed, draw)) is not None:
        yield 1.0
        return known
    if subject.settings.quick:
        order = torch.randperm(len(problem.splits["train"]), generator=torch.Generator().manual_seed(draw))
        problem = with_train(problem, order[:QUICK_PROMPTS])
    train, test = subject.train, subject.test
    if problem is not subject.problem:
        train, test = (Evaluator(problem, split, size=SLICE_PROMPTS, ready=False) for split in ("train", "test"))
        for evaluator in (train, test):
            yield from evaluator.prepare_slices()
    used = subject.search
    search = new_search(problem, train, test, used.method, used.target, seed, used.settings, circuit_only=True)
    share = 0.0  # a search corrects its estimate as it goes; what is told of it only grows
    for step in search if kept is None else kept.steps(search, kind, seed, draw):
        share = max(share, min(step.step / max(step.steps, 1), 1.0))
        yield share
    result = search.result
    assert result is not None  # a search that was not interrupted ends in one
    run = SearchRun(
        kind,
        seed,
        draw,
        len(result.nodes),
        finite(result.train.faithfulness),
        finite(result.test.faithfulness),
        result.reached,
        tuple(sorted(result.nodes)),
    )
    if kept is not None:
        kept.add_run(run)
    return run
