"""A circuit's passes over all tokens of a batch: what enters each site is kept, a change starts where it is made.

It serves sites inside blocks, and where `incremental_pass.py` finds no memory or a model that cannot run some tokens
alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import circuit_splice, pack_site
from circuit_tui.core.models.left_padding import runner_for
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.hook_patch import input_at_site
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.splice.splice import Splice, run_spliced


class FullPass:
    """One circuit on one batch. It is empty until it first follows one."""

    def __init__(self, problem: Problem, batch: Batch) -> None:
        self.batch, self._problem = batch, problem
        self._splices: list[Splice] = []
        self._inputs: list[Tensor] = []

    @incremental
    def advance_to(self, kept: Tensor, start: int) -> Increments[Tensor]:
        """See `live_circuit.CircuitPass`."""
        sites = self._problem.sites
        self._splices[start:] = [self._splice(kept, site) for site in range(start, len(sites))]
        resid = self._inputs[start] if start < len(self._inputs) else None
        return (
            yield from run_spliced(self._problem.model, sites, self.batch, self._splices, start, resid, self._inputs)
        )

    @incremental
    def evaluate_alternative(self, kept: Tensor, other: Tensor) -> Increments[Tensor]:
        """See `live_circuit.CircuitPass`."""
        problem = self._problem
        changed = problem.space.site[kept != other].unique().tolist()
        splices = list(self._splices)
        for site in changed:
            splices[site] = self._splice(kept, site)
        start = min(changed)
        return (yield from run_spliced(problem.model, problem.sites, self.batch, splices, start, self._inputs[start]))

    @torch.no_grad()
    def read(self, site: int) -> Tensor:
        """What the SAE of `site` reads, `[prompt, position, d_in]`."""
        runner = runner_for(self._problem.model, self.batch.lengths)
        return input_at_site(runner, self._problem.sites, site, self._inputs[site], self._splices)

    def _splice(self, kept: Tensor, site: int) -> Splice:
        return circuit_splice(self._problem, self.batch, site, pack_site(self._problem, kept, site))
