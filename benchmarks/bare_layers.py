"""The layers after the first site without SAEs: what a step or an evaluation cannot do without."""

from __future__ import annotations

from collections.abc import Callable

import torch

from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.task import Split


def bare_pass(problem: Problem, split: Split, backward: bool, most: int | None = None) -> Callable[[], None]:
    """Forward, and backward if asked for, of what follows the first site, by the same model with the same shortcuts.

    On all prompts, or on the first `most`.
    """
    batch = problem.batch(split, torch.arange(len(problem.splits[split]), device=problem.model.device)[:most])
    resid = batch.prefix.clone().requires_grad_(backward)

    def run() -> None:
        resid.grad = None
        with torch.set_grad_enabled(backward):
            logits = problem.model.logits_from(resid, problem.sites[0].depth_after, batch.read_columns)
            mean = batch.logit_difference(logits).mean()
        if backward:
            mean.backward()

    return run
