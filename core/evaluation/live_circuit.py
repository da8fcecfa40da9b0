"""One circuit on one split, followed through changes, and asked what circuits near it would do.

Batch by batch its pass is kept: in the tokens that can change (`incremental_pass.py`), or whole (`full_pass.py`).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.full_pass import FullPass
from circuit_tui.core.evaluation.incremental_pass import IncrementalPass, traceable
from circuit_tui.core.evaluation.journal import recalled_increments
from circuit_tui.core.evaluation.metrics import PromptMetrics
from circuit_tui.core.runtime.incremental import Incremental, Increments, incremental
from circuit_tui.core.runtime.out_of_memory import retry_halved
from circuit_tui.core.runtime.parallel_batches import interleaved, rounds, run_in_threads
from circuit_tui.core.splice.batch import Batch


class CircuitPass(Protocol):
    """Keeps a circuit's pass over one batch."""

    batch: Batch

    def advance_to(self, kept: Tensor, start: int) -> Incremental[Tensor]:
        """Logits `[read, vocab]` of the circuit `kept` `[node]` bool, site by site, which is then the one kept.

        It differs from the one before at site `start` at the earliest.
        """

    def evaluate_alternative(self, kept: Tensor, other: Tensor) -> Incremental[Tensor]:
        """Logits `[read, vocab]` of the circuit `kept` `[node]` bool, which is not `other`, the one kept."""


class LiveCircuit:
    """One circuit on one split, kept up to date: only what a change can alter is evaluated again.

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
        Incremental(self._remeasure()).result()

    @incremental
    def advance_to(self, kept: Tensor) -> Increments[None]:
        """Makes `kept` `[node]` bool the current circuit and evaluates it, batch by batch, from the first changed site.

        The circuit is the new one, and whole, only at the end.
        """
        changed = self._changed_sites(kept)
        if not changed and not self.behind:
            return
        self.behind = True
        self.kept = kept.clone()
        self._stale.update(changed)
        yield from self._remeasure()

    def evaluate_without(self, node: int) -> Incremental[float]:
        """Returns the mean logit difference when `node` alone is ablated, site by site; the current circuit stays."""
        kept = self.kept.clone()
        kept[node] = False
        return self.evaluate_alternative(kept)

    @incremental
    def evaluate_alternative(self, kept: Tensor) -> Increments[float]:
        """Returns the mean logit difference of the circuit `kept` `[node]` bool, site by site.

        The current circuit stays.
        """
        changed = self._changed_sites(kept)
        if not changed:
            yield from self.advance_to(kept)
            return self.measured.mean_logit_diff
        question = ("instead", self.evaluator.identity, self.kept, kept)
        count = self.evaluator.n_rounds * (len(self.evaluator.problem.sites) - changed[0])
        increments = retry_halved(lambda: self._alternative(kept), self.evaluator.halve)
        return (yield from recalled_increments(increments, count, *question))

    @torch.no_grad()
    def _alternative(self, kept: Tensor) -> Increments[float]:
        self._bring_up_to_date()
        trials, total = [follower.evaluate_alternative(kept, self.kept) for follower in self._followers], 0.0
        every_logits = yield from interleaved(trials, self.evaluator.problem.n_parallel)
        for batch, logits in zip(self._batches, every_logits, strict=True):
            total += float(batch.logit_difference(logits).double().sum())
        return total / len(self.evaluator)

    @torch.no_grad()
    def site_read(self, site: int, prompt: int) -> Tensor:
        """What the SAE of `site` reads `[position, d_in]` of prompt number `prompt`, without padding.

        Where answers are several tokens, of the prompt with the right one behind it.
        """
        problem, split = self.evaluator.problem, self.evaluator.split
        one = FullPass(problem, problem.batch(split, torch.tensor([prompt], device=problem.model.device)))
        one.advance_to(self.kept, 0).result()
        return one.read(site)[0, : int(one.batch.lengths[0])]

    def first_change(self, kept: Tensor) -> int | None:
        """The site from which the circuit `kept` would have to be run; None if it is the one measured."""
        changed = self._changed_sites(kept)
        return min([*changed, *self._stale]) if changed or self.behind else None

    def _changed_sites(self, kept: Tensor) -> list[int]:
        changed = (kept != self.kept).nonzero()[:, 0]
        return sorted({int(site) for site in self.evaluator.problem.space.site[changed]})

    def _remeasure(self) -> Increments[None]:
        question = ("live", self.evaluator.identity, self.kept)
        increments = retry_halved(self._refresh, self.evaluator.halve)
        self.measured = yield from recalled_increments(increments, self.evaluator.n_rounds, *question)
        self.behind = False

    def _bring_up_to_date(self) -> None:
        if self._stale or self._batches is not self.evaluator.batches:
            Incremental(retry_halved(self._refresh, self.evaluator.halve)).result()

    def _follow_batches(self) -> None:
        """Nothing is known yet of the batches that the evaluator has now."""
        self._batches = self.evaluator.batches
        self._stale.update(range(len(self.evaluator.problem.sites)))
        problem = self.evaluator.problem
        kind = IncrementalPass if traceable(problem, self._batches) else FullPass
        self._followers: list[CircuitPass] = [kind(problem, batch) for batch in self._batches]

    @torch.no_grad()
    def _refresh(self) -> Increments[PromptMetrics]:
        """Runs the circuit from its first stale site on."""
        evaluator = self.evaluator
        if self._batches is not evaluator.batches:
            self._follow_batches()
        first = min(self._stale)
        measured = PromptMetrics.empty(len(evaluator))
        for group in rounds(self._followers, evaluator.problem.n_parallel):
            passes = [follower.advance_to(self.kept, first).result for follower in group]
            for follower, logits in zip(group, run_in_threads(passes), strict=True):
                evaluator.fill(measured, follower.batch, logits)
            yield
        self._stale.clear()
        return measured
