"""A circuit's passes over all tokens of a batch: the input of every site is kept, and a change runs from its site on.

It serves sites inside blocks, models that cannot run some tokens alone, and prompts for which an incremental pass
(`incremental_pass.py`) finds no memory.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from circuit_tui.core.evaluation.change_size import change_size_at
from circuit_tui.core.evaluation.circuit_pass import CircuitPass
from circuit_tui.core.evaluation.evaluator import circuit_splice, pack_site
from circuit_tui.core.evaluation.many_circuits import Circuits
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.saes.site import site_group_of
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.hook_patch import input_at_site
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.splice.splice import Splice, run_spliced


class FullPass(CircuitPass):
    """Runs circuits over all tokens of one batch."""

    def __init__(self, problem: Problem, batch: Batch) -> None:
        self.batch, self._problem = batch, problem
        self._splices: list[Splice] = []
        self._inputs: list[Tensor] = []

    @override
    @incremental
    def advance_to(self, kept: Tensor, start: int) -> Increments[Tensor]:
        sites = self._problem.sites
        self._splices[start:] = [self._splice(kept, site) for site in range(start, len(sites))]
        resid = self._inputs[start] if start < len(self._inputs) else None
        return (
            yield from run_spliced(self._problem.model, sites, self.batch, self._splices, start, resid, self._inputs)
        )

    @override
    @incremental
    def evaluate_alternatives(self, circuits: Circuits, current: Tensor) -> Increments[Tensor]:
        problem, n = self._problem, len(circuits)
        changed_sites = problem.space.site[circuits.changed(current)].unique().tolist()
        start, batch, splices = min(changed_sites), self.batch.of_circuits(n), list(self._splices)
        # Splices belong to a batch: with several circuits none of those that are kept will do.
        first = site_group_of(problem.sites, start).start
        for site in changed_sites if n == 1 else range(first, len(problem.sites)):
            nodes = pack_site(problem, circuits.union, site)
            splices[site] = circuit_splice(problem, batch, site, nodes, circuits.mask(problem.space, site, nodes))
        resid = self._inputs[start] if n == 1 else self._inputs[start].repeat(n, 1, 1)
        return (yield from run_spliced(problem.model, problem.sites, batch, splices, start, resid))

    @override
    def work(self, changed: Tensor) -> float:
        model, sites = self._problem.model, self._problem.sites
        start = int(self._problem.space.site[changed].min())
        return self.batch.n_tokens * model.token_work * (model.n_layers - sites[start].depth)

    @override
    @torch.no_grad()
    def change_sizes(self, kept: Tensor, current: Tensor) -> Tensor:
        sizes = torch.zeros(len(self.batch.lengths), dtype=torch.float64)
        for site in self._problem.space.site[kept != current].unique().tolist():
            sizes += change_size_at(self._problem, self.batch, site, self.sae_input(site), kept, current)
        return sizes

    @torch.no_grad()
    def sae_input(self, site: int) -> Tensor:
        """Returns the input of the SAE of `site`, `[prompt, position, d_in]`."""
        runner = self.batch.runner(self._problem.model)
        return input_at_site(runner, self._problem.sites, site, self._inputs[site], self._splices)

    def _splice(self, kept: Tensor, site: int) -> Splice:
        return circuit_splice(self._problem, self.batch, site, pack_site(self._problem, kept, site))
