"""One circuit on one split, kept through its changes, and evaluation of circuits near it.

The pass of each batch is kept: an incremental one if possible (`incremental_pass.py`), else a full one
(`full_pass.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from circuit_tui.core.evaluation.circuit_pass import CircuitPass
from circuit_tui.core.evaluation.evaluator import Evaluator, add_logit_differences
from circuit_tui.core.evaluation.full_pass import FullPass
from circuit_tui.core.evaluation.incremental_pass import IncrementalPass, can_trace
from circuit_tui.core.evaluation.journal import recalled_increments
from circuit_tui.core.evaluation.many_circuits import Circuits, circuits_at_once, most_at_once, toggled
from circuit_tui.core.evaluation.metrics import PromptMetrics
from circuit_tui.core.runtime.incremental import Incremental, Increments, incremental
from circuit_tui.core.runtime.out_of_memory import retry_halved
from circuit_tui.core.runtime.parallel_batches import interleaved, rounds, run_in_threads


class LiveCircuit:
    """One circuit on one split, kept up to date: only what a change can alter runs again.

    Attributes:
        kept: `[node]` bool on the CPU, the current circuit.
        measured: its per-prompt metrics.
        outdated: whether `measured` belongs to an earlier circuit, because a change has begun and not finished.
    """

    def __init__(self, evaluator: Evaluator, kept: Tensor) -> None:
        self.evaluator = evaluator
        self.kept = kept.clone()
        self.measured = PromptMetrics.empty(len(evaluator))
        self.outdated = True
        # Sites whose splice and input in `_passes` are not those of `kept`: a value from a journal runs nothing.
        self._outdated_sites = set[int]()
        self._make_passes()
        Incremental(self._remeasure()).result()

    @incremental
    def advance_to(self, kept: Tensor) -> Increments[None]:
        """Makes `kept` `[node]` bool the current circuit and evaluates it, batch by batch, from the first changed site.

        Only at the end does `measured` belong to it.
        """
        changed = self._changed_sites(kept)
        if not changed and not self.outdated:
            return
        self.outdated = True
        self.kept = kept.clone()
        self._outdated_sites.update(changed)
        yield from self._remeasure()

    def evaluate_first_toggled(self, nodes: Sequence[int]) -> Incremental[list[float]]:
        """Returns the mean logit difference when the first of `nodes` alone is toggled, then the second, and so on.

        See `evaluate_first_alternatives`: of as many as one pass should run, at least one.
        """
        return self.evaluate_first_alternatives(toggled(self.kept, nodes[: most_at_once(self.evaluator.problem)]))

    @incremental
    def evaluate_first_alternatives(self, kept: Tensor) -> Increments[list[float]]:
        """Returns the mean logit difference of the first of the circuits `kept` `[circuit, node]` bool, site by site.

        Those are as many as one pass should run on the model's device (`circuits_at_once`), at least one. The current
        circuit stays.
        """
        first = kept[: self._at_once(kept)]
        changed = self._changed_sites(first)
        if not changed:
            yield from self.advance_to(first[0])
            return [self.measured.mean_logit_diff] * len(first)
        key = ("alternatives", self.evaluator.identity, self.kept, first)
        count = self.evaluator.n_rounds * (len(self.evaluator.problem.sites) - changed[0])
        increments = self.evaluator.in_passes(first, self._logit_difference_sums)
        sums = yield from recalled_increments(increments, count, *key)
        return [total / len(self.evaluator) for total in sums]

    @incremental
    def measure_alternative(self, kept: Tensor) -> Increments[Tensor]:
        """Returns the logit difference `[prompt]` of each prompt under the circuit `kept` `[node]` bool, site by site.

        The current circuit stays. The order is that of `measured`.
        """
        if not self._changed_sites(kept):
            yield from self.advance_to(kept)
            return self.measured.logit_diff
        return (yield from retry_halved(lambda: self._measure_alternative(kept), self.evaluator.halve))

    @incremental
    def alternative_metrics(self, kept: Tensor) -> Increments[PromptMetrics]:
        """Returns per-prompt metrics of the circuit `kept` `[node]` bool, site by site; the current circuit stays."""
        if not self._changed_sites(kept):
            yield from self.advance_to(kept)
            return self.measured
        return (yield from retry_halved(lambda: self._alternative_metrics(kept), self.evaluator.halve))

    def _at_once(self, kept: Tensor) -> int:
        """Returns how many of the first of the circuits `kept` `[circuit, node]` bool one pass should run."""

        def work(n: int) -> float:
            changed = (kept[:n] != self.kept).any(0)
            return max(each.work(changed) for each in self._passes) if bool(changed.any()) else 0.0

        return circuits_at_once(self.evaluator.problem, self._batches, len(kept), work)

    def _logit_difference_sums(self, circuits: Circuits) -> Increments[list[float]]:
        """Returns the sum of the logit differences of all prompts under each of `circuits`."""
        if not self._changed_sites(circuits.kept):  # the part of a pass that was left when memory ran out
            yield from self.advance_to(self.kept)
            return [self.measured.mean_logit_diff * len(self.evaluator)] * len(circuits)
        every_logits, sums = (yield from self._alternative_logits(circuits)), [0.0] * len(circuits)
        for batch, logits in zip(self._batches, every_logits, strict=True):
            add_logit_differences(sums, batch.of_circuits(len(circuits)), logits)
        return sums

    def _measure_alternative(self, kept: Tensor) -> Increments[Tensor]:
        every_logits = yield from self._alternative_logits(Circuits(kept.unsqueeze(0)))
        measured = torch.zeros(len(self.evaluator))
        for batch, logits in zip(self._batches, every_logits, strict=True):
            measured[self.evaluator.indices_of(batch)] = batch.logit_difference(logits).cpu()
        return measured

    def _alternative_metrics(self, kept: Tensor) -> Increments[PromptMetrics]:
        every_logits = yield from self._alternative_logits(Circuits(kept.unsqueeze(0)))
        measured = PromptMetrics.empty(len(self.evaluator))
        with torch.no_grad():
            for batch, logits in zip(self._batches, every_logits, strict=True):
                self.evaluator.fill(measured, batch, logits)
        return measured

    @torch.no_grad()
    def _alternative_logits(self, circuits: Circuits) -> Increments[list[Tensor]]:
        """Returns the logits of each batch under `circuits`, some of which differ from the current one."""
        self._bring_up_to_date()
        alternatives = [each.evaluate_alternatives(circuits, self.kept) for each in self._passes]
        return (yield from interleaved(alternatives, self.evaluator.problem.n_parallel))

    @torch.no_grad()
    def change_sizes(self, kept: Tensor) -> Tensor | None:
        """Returns how far each prompt is moved where the circuit `kept` `[node]` bool differs, `[prompt]` float64.

        See `CircuitPass.change_sizes`. None while the passes are between two circuits.
        """
        if self.outdated or self._outdated_sites or self._batches is not self.evaluator.batches:
            return None
        sizes = torch.zeros(len(self.evaluator), dtype=torch.float64)
        for each in self._passes:
            prompts = self.evaluator.indices_of(each.batch)
            sizes[prompts] = each.change_sizes(kept, self.kept).reshape(len(prompts), -1).sum(1)
        return sizes

    @torch.no_grad()
    def sae_input(self, site: int, prompt: int) -> Tensor:
        """Returns the input of the SAE of `site` on prompt number `prompt`, `[position, d_in]`, without padding.

        If answers have several tokens, the prompt is followed by the right one.
        """
        problem, split = self.evaluator.problem, self.evaluator.split
        full_pass = FullPass(problem, problem.batch(split, torch.tensor([prompt], device=problem.model.device)))
        full_pass.advance_to(self.kept, 0).result()
        return full_pass.sae_input(site)[0, : int(full_pass.batch.lengths[0])]

    def first_changed_site(self, kept: Tensor) -> int | None:
        """Returns the site from which the circuit `kept` would have to run; None if it is the one measured."""
        changed = self._changed_sites(kept)
        return min([*changed, *self._outdated_sites]) if changed or self.outdated else None

    def _changed_sites(self, kept: Tensor) -> list[int]:
        """Returns the sites at which `kept` `[node]` or `[circuit, node]` differs from the circuit, ascending."""
        nodes = (kept != self.kept).nonzero()[:, -1]
        return sorted({int(site) for site in self.evaluator.problem.space.site[nodes]})

    def _remeasure(self) -> Increments[None]:
        key = ("live", self.evaluator.identity, self.kept)
        increments = retry_halved(self._run_passes, self.evaluator.halve)
        self.measured = yield from recalled_increments(increments, self.evaluator.n_rounds, *key)
        self.outdated = False

    def _bring_up_to_date(self) -> None:
        if self._outdated_sites or self._batches is not self.evaluator.batches:
            Incremental(retry_halved(self._run_passes, self.evaluator.halve)).result()

    def _make_passes(self) -> None:
        """Makes new passes for the evaluator's present batches; all sites are outdated in them."""
        self._batches = self.evaluator.batches
        self._outdated_sites.update(range(len(self.evaluator.problem.sites)))
        problem = self.evaluator.problem
        kind = IncrementalPass if can_trace(problem, self._batches) else FullPass
        self._passes: list[CircuitPass] = [kind(problem, batch) for batch in self._batches]

    @torch.no_grad()
    def _run_passes(self) -> Increments[PromptMetrics]:
        """Runs the circuit from its first outdated site on, batch by batch; returns its per-prompt metrics."""
        evaluator = self.evaluator
        if self._batches is not evaluator.batches:
            self._make_passes()
        first = min(self._outdated_sites)
        measured = PromptMetrics.empty(len(evaluator))
        for group in rounds(self._passes, evaluator.problem.n_parallel):
            runs = [each.advance_to(self.kept, first).result for each in group]
            for each, logits in zip(group, run_in_threads(runs), strict=True):
                evaluator.fill(measured, each.batch, logits)
            yield
        self._outdated_sites.clear()
        return measured
