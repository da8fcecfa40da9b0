"""Evaluates hard circuits on a split: every number of a circuit comes from here.

A circuit is a `[node]` bool tensor on the CPU. `Evaluator` answers one circuit afresh; `LiveCircuit` follows one
circuit through changes, restarting at the site that changed from the residual that enters it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from circuit_tui.core.batch import Batch
from circuit_tui.core.journal import digest, recalled_slices
from circuit_tui.core.metrics import Baselines, PromptMetrics
from circuit_tui.core.nodes import Pack, pack
from circuit_tui.core.out_of_memory import fitting, halved
from circuit_tui.core.problem import Problem
from circuit_tui.core.snapshot import Metrics
from circuit_tui.core.splice import Full, Kept, PackedNodes, Removed, Splice, run, run_slices
from circuit_tui.core.task import Split

Value = TypeVar("Value")
# A computation in slices: it yields after each batch, or each site of a batch, and returns its value, so that whoever
# runs it can do other things in between.
Slices = Generator[None, None, Value]


def finish(slices: Slices[Value]) -> Value:
    """Runs a computation in slices to its end and returns its value."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            value: Value = end.value
            return value


def pack_circuit(problem: Problem, kept: Tensor) -> list[Pack]:
    """One pack for each site of the nodes in `kept` `[node]` bool."""
    return [pack_site(problem, kept, site) for site in range(len(problem.sites))]


def pack_site(problem: Problem, kept: Tensor, site: int) -> Pack:
    """The pack of one site's nodes in `kept` `[node]` bool."""
    nodes = problem.space.of_site(site)
    chosen = kept[nodes.start : nodes.stop].nonzero()[:, 0] + nodes.start
    return pack(problem.space, chosen, problem.sites[site].sae, problem.n_positions)


class Evaluator:
    """Everything that can be asked of circuits on one split, or on some of its prompts.

    Attributes:
        prompts: indices of the prompts in the split, ascending; per-prompt metrics are in this order.
        batches: they in batches of at most `size`, or of the problem's batch size; halved when memory runs out.
        identity: tells it from evaluators on other prompts of the same problem.
        baselines: M, M_s and the empty circuit on these prompts.
    """

    def __init__(self, problem: Problem, split: Split, prompts: Tensor | None = None, size: int | None = None) -> None:
        self.problem, self.split = problem, split
        every = torch.arange(len(problem.splits[split]), device=problem.model.device)
        self.prompts = every if prompts is None else prompts.to(every.device).sort()[0]
        self.batches = problem.batches(split, self.prompts, size)
        self.identity = digest(split, self.prompts)
        plain = PromptMetrics.empty(len(self))
        for batch in self.batches:
            self.fill(plain, batch, problem.splits[split].plain_logits[batch.prompts])
        empty = torch.zeros(len(problem.space), dtype=torch.bool)
        spliced = finish(self._measure(lambda batch: [self._full(batch, site) for site in self._sites], "spliced"))
        self.baselines = Baselines(plain, spliced, self.measure(empty))

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def _sites(self) -> range:
        return range(len(self.problem.sites))

    def measure(self, kept: Tensor) -> PromptMetrics:
        """Per-prompt metrics of the circuit `kept` `[node]` bool, everything else ablated."""
        return finish(self.measure_slices(kept))

    def measure_removed(self, kept: Tensor) -> PromptMetrics:
        """Per-prompt metrics of M without the circuit: M_s with the nodes of `kept` ablated."""
        return finish(self.measure_removed_slices(kept))

    def evaluate(self, kept: Tensor, completeness: bool = True) -> Metrics:
        """Average metrics of the circuit `kept` `[node]` bool."""
        return finish(self.evaluate_slices(kept, completeness))

    def evaluate_slices(self, kept: Tensor, completeness: bool = True) -> Slices[Metrics]:
        """`evaluate`, site by site."""
        measured = yield from self.measure_slices(kept)
        metrics = self.baselines.summarise(measured)
        return (yield from self.completeness_slices(metrics, kept)) if completeness else metrics

    def completeness_slices(self, metrics: Metrics, kept: Tensor) -> Slices[Metrics]:
        """`metrics` of the circuit `kept` with its completeness, site by site."""
        removed = yield from self.measure_removed_slices(kept)
        return self.baselines.with_completeness(metrics, removed)

    def faithfulness(self, kept: Tensor) -> float:
        """Faithfulness against M of the circuit `kept` `[node]` bool."""
        return finish(self.faithfulness_slices(kept))

    def faithfulness_slices(self, kept: Tensor) -> Slices[float]:
        """`faithfulness`, batch by batch."""
        slices = fitting(lambda: self._mean_slices(kept), self.halve)
        question = ("logit difference", self.identity, kept)
        mean = yield from recalled_slices(slices, len(self.batches), *question)
        return self.baselines.faithfulness(mean)

    def halve(self, error: BaseException) -> None:
        """Goes on with batches half as large after `error`. Raises what `out_of_memory.halved` does."""
        size = halved(max(len(batch) for batch in self.batches), f"evaluating on {self.split} prompts", error)
        self.batches = []  # the old ones must not stand in the way of the new ones
        self.batches = self.problem.batches(self.split, self.prompts, size)

    def _mean_slices(self, kept: Tensor) -> Slices[float]:
        packs, total = pack_circuit(self.problem, kept), 0.0
        for batch in self.batches:
            with torch.no_grad():
                logits = run(self.problem.model, self.problem.sites, batch, self.kept_splices(batch, packs))
                total += float(batch.logit_difference(logits).double().sum())
            yield
        return total / len(self)

    def kept_splices(self, batch: Batch, packs: Sequence[Pack]) -> list[Splice]:
        """The circuit's splices on one batch."""
        return [self.kept_splice(batch, site, packs[site]) for site in self._sites]

    def kept_splice(self, batch: Batch, site: int, nodes: Pack) -> Splice:
        """The circuit's splice at one site."""
        return Kept(PackedNodes.bind(self.problem.sites[site], site, batch, nodes), batch.base[site])

    def _full(self, batch: Batch, site: int) -> Full:
        return Full(self.problem.sites[site], batch, batch.errors[site])

    def measure_slices(self, kept: Tensor) -> Slices[PromptMetrics]:
        """`measure`, site by site."""
        packs = pack_circuit(self.problem, kept)
        return self._measure(lambda batch: self.kept_splices(batch, packs), "kept", kept)

    def measure_removed_slices(self, kept: Tensor) -> Slices[PromptMetrics]:
        """`measure_removed`, site by site."""
        packs, sites = pack_circuit(self.problem, kept), self.problem.sites

        def splices(batch: Batch) -> list[Splice]:
            return [
                Removed(PackedNodes.bind(sites[site], site, batch, packs[site]), self._full(batch, site))
                for site in self._sites
            ]

        return self._measure(splices, "removed", kept)

    def _measure(self, splices: Callable[[Batch], Sequence[Splice]], *question: str | Tensor) -> Slices[PromptMetrics]:
        n_slices = len(self.batches) * len(self._sites)
        slices = fitting(lambda: self._measured(splices), self.halve)
        return recalled_slices(slices, n_slices, self.identity, *question)

    @torch.no_grad()
    def _measured(self, splices: Callable[[Batch], Sequence[Splice]]) -> Slices[PromptMetrics]:
        measured = PromptMetrics.empty(len(self))
        for batch in self.batches:
            logits = yield from run_slices(self.problem.model, self.problem.sites, batch, splices(batch))
            self.fill(measured, batch, logits)
            yield
        return measured

    def fill(self, measured: PromptMetrics, batch: Batch, logits: Tensor) -> None:
        """Measures the logits of one batch and stores them."""
        plain = self.problem.splits[self.split].plain_logits[batch.prompts]
        measured.fill(torch.searchsorted(self.prompts, batch.prompts), logits, plain, batch.right, batch.wrong)


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

    def site_input(self, site: int, prompt: int) -> Tensor:
        """Residual `[position, d_model]` entering `site` for prompt number `prompt`, without padding."""
        self._bring_up_to_date()
        for index, batch in enumerate(self._batches):
            found = (batch.prompts == prompt).nonzero()
            if len(found):
                row = int(found[0, 0])
                return self._inputs[index][site][row, : int(batch.lengths[row])]
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
