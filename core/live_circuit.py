"""One circuit on one split, followed through changes: each restarts at the site that changed.

What enters that site is kept from the last evaluation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.evaluate import Evaluator, Slices, finish, pack_site
from circuit_tui.core.journal import recalled_slices
from circuit_tui.core.metrics import PromptMetrics
from circuit_tui.core.out_of_memory import fitting
from circuit_tui.core.passage import reading
from circuit_tui.core.splice import Splice, run, run_slices


class LiveCircuit:
    """One circuit on one split, kept up to date: a change at site `s` is evaluated from `s` on.

    Attributes:
        kept: `[node]` bool on the CPU, the current circuit.
        measured: its per-prompt metrics.
        behind: whether `measured` is still that of an earlier circuit, since a change was begun and not finished.
    """

    def __init__(self, evaluator: Evaluator, kept: Tensor) -> None:
        self.evaluator = evaluator
        self.kept = kept.clone()
        self.measured = PromptMetrics.empty(len(evaluator))
        self.behind = True
        # What a journal answers is not computed: the sites whose splice and input here are not those of `kept`.
        self._stale = set[int]()
        self._follow_batches()
        finish(self._remeasure())

    def change(self, kept: Tensor) -> None:
        """Makes `kept` `[node]` bool the current circuit and evaluates it from the first site that differs on."""
        finish(self.change_slices(kept))

    def change_slices(self, kept: Tensor) -> Slices[None]:
        """`change`, batch by batch; the circuit is the new one, and whole, only at the end."""
        changed = self._changed_sites(kept)
        if not changed and not self.behind:
            return
        self.behind = True
        self.kept = kept.clone()
        self._stale.update(changed)
        yield from self._remeasure()

    def logit_difference_without(self, node: int) -> float:
        """Mean logit difference when `node` alone is ablated; the current circuit stays."""
        return finish(self.without_slices(node))

    def without_slices(self, node: int) -> Slices[float]:
        """`logit_difference_without`, site by site."""
        question = ("without", self.evaluator.identity, self.kept, node)
        problem = self.evaluator.problem
        n_slices = len(self.evaluator.batches) * (len(problem.sites) - int(problem.space.site[node]))
        slices = fitting(lambda: self._without(node), self.evaluator.halve)
        return (yield from recalled_slices(slices, n_slices, *question))

    @torch.no_grad()
    def _without(self, node: int) -> Slices[float]:
        self._bring_up_to_date()
        problem = self.evaluator.problem
        site = int(problem.space.site[node])
        kept = self.kept.clone()
        kept[node] = False
        nodes = pack_site(problem, kept, site)
        total, count = 0.0, 0
        for batch, own, inputs in zip(self._batches, self._splices, self._inputs, strict=True):
            splices = list(own)
            splices[site] = self.evaluator.kept_splice(batch, site, nodes)
            resid = inputs[site]
            logits = yield from run_slices(problem.model, problem.sites, batch, splices, site, resid)
            total += float(batch.logit_difference(logits).double().sum())
            count += len(batch)
            yield
        return total / count

    @torch.no_grad()
    def site_read(self, site: int, prompt: int) -> Tensor:
        """What the SAE of `site` reads `[position, d_in]` of prompt number `prompt`, without padding."""
        self._bring_up_to_date()
        sites, model = self.evaluator.problem.sites, self.evaluator.problem.model
        for batch, splices, inputs in zip(self._batches, self._splices, self._inputs, strict=True):
            for row in (batch.prompts == prompt).nonzero()[:, 0].tolist():
                return reading(model, sites, site, inputs[site], splices)[row, : int(batch.lengths[row])]
        raise IndexError(prompt)

    def first_change(self, kept: Tensor) -> int | None:
        """The site from which the circuit `kept` would have to be run; None if it is the one measured."""
        changed = self._changed_sites(kept)
        return min([*changed, *self._stale]) if changed or self.behind else None

    def _changed_sites(self, kept: Tensor) -> list[int]:
        changed = (kept != self.kept).nonzero()[:, 0]
        return sorted({int(site) for site in self.evaluator.problem.space.site[changed]})

    def _remeasure(self) -> Slices[None]:
        question = ("live", self.evaluator.identity, self.kept)
        slices = fitting(self._refresh, self.evaluator.halve)
        self.measured = yield from recalled_slices(slices, len(self.evaluator.batches), *question)
        self.behind = False

    def _bring_up_to_date(self) -> None:
        if self._stale or self._batches is not self.evaluator.batches:
            finish(fitting(self._refresh, self.evaluator.halve))

    def _follow_batches(self) -> None:
        """Nothing is known yet of the batches that the evaluator has now."""
        self._batches = self.evaluator.batches
        self._stale.update(range(len(self.evaluator.problem.sites)))
        self._splices: list[list[Splice]] = [[] for _ in self._batches]
        self._inputs: list[list[Tensor]] = [[] for _ in self._batches]

    def _refresh(self) -> Slices[PromptMetrics]:
        """Runs the circuit from its first stale site on."""
        evaluator, problem = self.evaluator, self.evaluator.problem
        if self._batches is not evaluator.batches:
            self._follow_batches()
        packs = {site: pack_site(problem, self.kept, site) for site in sorted(self._stale)}
        first = min(packs)
        measured = PromptMetrics.empty(len(evaluator))
        for batch, splices, inputs in zip(self._batches, self._splices, self._inputs, strict=True):
            for site, nodes in packs.items():
                splices[site : site + 1] = [evaluator.kept_splice(batch, site, nodes)]
            resid = inputs[first] if first < len(inputs) else None
            with torch.no_grad():
                logits = run(problem.model, problem.sites, batch, splices, first, resid, inputs)
                evaluator.fill(measured, batch, logits)
            yield
        self._stale.clear()
        return measured
