"""Evaluates hard circuits on a split: every number of a circuit comes from here.

A circuit is a `[node]` bool tensor on the CPU. `Evaluator` runs each circuit from the beginning; `LiveCircuit`
(`live_circuit.py`) keeps the pass of one circuit through its changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cached_property, partial

import torch
from torch import Tensor

from circuit_tui.core.evaluation.bootstrap import ratio_interval
from circuit_tui.core.evaluation.cluster_sample import clusters
from circuit_tui.core.evaluation.journal import digest, recalled_increments
from circuit_tui.core.evaluation.many_circuits import MOST_CIRCUITS, Circuits, circuits_at_once
from circuit_tui.core.evaluation.metrics import Baselines, PromptMetrics
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.runtime.out_of_memory import halve_circuits, halve_prompts, retry_halved
from circuit_tui.core.runtime.parallel_batches import interleaved, rounds, run_in_threads
from circuit_tui.core.splice.batch import Batch, SpliceConstants
from circuit_tui.core.splice.nodes import Pack, pack
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.splice.splice import (
    AblatedSplice,
    BoundPack,
    CircuitSplice,
    FullSplice,
    Splice,
    run_spliced,
    untouched,
)
from circuit_tui.core.tasks.task import Split
from circuit_tui.core.views import Metrics

BATCH_PROMPTS = 256
"""The most prompts in a batch of a session or an audit, so that a toggle need not wait long for its turn."""


def pack_circuit(problem: Problem, kept: Tensor) -> list[Pack]:
    """Returns a pack of the nodes in `kept` `[node]` bool for each site."""
    return [pack_site(problem, kept, site) for site in range(len(problem.sites))]


def pack_site(problem: Problem, kept: Tensor, site: int, tokens: SpliceConstants | None = None) -> Pack:
    """Returns the pack of one site's nodes in `kept` `[node]` bool; with `tokens`, only of nodes at their positions."""
    chosen = problem.space.kept_of_site(kept, site)
    n_groups, group_of = problem.n_positions, None
    if tokens is not None:
        n_groups, group_of = tokens.position_groups.n_groups, tokens.group_of
    return pack(problem.space, chosen, problem.sites[site].sae, n_groups, group_of)


def circuit_splice(
    problem: Problem, tokens: SpliceConstants, site: int, nodes: Pack, mask: Tensor | None = None
) -> CircuitSplice:
    """Returns the splice of `nodes` at one site: a circuit's, or with `mask` `[circuit, slot]` those of several."""
    return CircuitSplice(BoundPack.bind(problem.sites[site], site, tokens, nodes), tokens.base[site], mask)


def add_logit_differences(sums: list[float], batch: Batch, logits: Tensor) -> None:
    """Adds to `sums` of each circuit those of its logit differences on `batch`, with the `logits` `[read, vocab]`."""
    by_circuit = batch.logit_difference(logits).double().reshape(len(sums), -1).sum(1)
    for circuit, total in enumerate(by_circuit.tolist()):
        sums[circuit] += total


class Evaluator:
    """Evaluates circuits on the prompts of one split, or on some of them.

    Attributes:
        prompts: indices of the prompts in the split, ascending; per-prompt metrics are in this order.
        batches: the prompts in batches of at most `size`, or of the problem's batch size; halved if memory runs out.
        most_circuits: how many circuits one pass may run; halved if memory runs out.
        identity: a digest that differs for other prompts, or another variant, of the same problem.
        baselines: M, M_s and the empty circuit on these prompts.
    """

    def __init__(
        self,
        problem: Problem,
        split: Split,
        prompts: Tensor | None = None,
        size: int | None = None,
        *,
        prepared: bool = True,
        variant: tuple[str, ...] = (),
    ) -> None:
        self.problem, self.split, self._variant = problem, split, variant
        every = torch.arange(len(problem.splits[split]), device=problem.model.device)
        self.prompts = every if prompts is None else prompts.to(every.device).sort()[0]
        self._prompts_on_cpu = self.prompts.cpu()
        self.batches = problem.batches(split, self.prompts, size)
        self.most_circuits = MOST_CIRCUITS
        self.identity = digest(split, self.prompts, *variant)
        if prepared:
            self.prepare().result()

    @incremental
    def prepare(self) -> Increments[None]:
        """Measures the baselines, batch by batch. The constructor does so unless `prepared` is false."""
        plain = PromptMetrics.empty(len(self))
        for batch in self.batches:
            self.fill(plain, batch, self.problem.splits[self.split].plain_logits[batch.reads])
        spliced = yield from self.measure_spliced(self._sites)
        empty = torch.zeros(len(self.problem.space), dtype=torch.bool)
        self.baselines = Baselines(plain, spliced, (yield from self.measure(empty)))

    def __len__(self) -> int:
        return len(self.prompts)

    @incremental
    def under(self, problem: Problem) -> Increments[Evaluator]:
        """Returns an evaluator of the same prompts of `problem`, which is this problem under another ablation."""
        size = max(len(batch) for batch in self.batches)
        other = Evaluator(problem, self.split, self.prompts, size, prepared=False, variant=(problem.ablation,))
        nothing = yield from other.measure(torch.zeros(len(problem.space), dtype=torch.bool))
        other.baselines = replace(self.baselines, empty=nothing)
        return other

    def on(self, chosen: Tensor, limits: Problem) -> Evaluator:
        """Returns an evaluator of some of the prompts: those with the numbers `chosen` `[prompt]` in this one's order.

        It takes no more memory than `limits` allows. Nothing is measured: the baselines are this one's.
        """
        chosen = chosen.sort()[0]
        size = max(len(batch) for batch in self.batches)
        prompts = self.prompts[chosen.to(self.prompts.device)]
        problem = self.problem.limited_like(limits)
        found = Evaluator(problem, self.split, prompts, size, prepared=False, variant=self._variant)
        parts = (self.baselines.plain, self.baselines.spliced, self.baselines.empty)
        found.baselines = Baselines(*(part.on(chosen) for part in parts))
        return found

    @property
    def n_rounds(self) -> int:
        """The number of rounds in which all batches run, some of them in parallel."""
        return len(rounds(self.batches, self.problem.n_parallel))

    @property
    def _sites(self) -> range:
        return range(len(self.problem.sites))

    @incremental
    def measure(self, kept: Tensor) -> Increments[PromptMetrics]:
        """Returns per-prompt metrics of the circuit `kept` `[node]` bool, site by site; all other nodes are ablated."""
        packs = pack_circuit(self.problem, kept)
        return (yield from self._recall_or_measure(lambda batch: self.circuit_splices(batch, packs), "kept", kept))

    @incremental
    def measure_spliced(self, sites: Collection[int]) -> Increments[PromptMetrics]:
        """Returns per-prompt metrics of M with the SAEs of `sites` alone spliced in, every latent kept, site by site.

        With all sites that is M_s.
        """

        def splices(batch: Batch) -> list[Splice]:
            return [self._full(batch, site) if site in sites else untouched for site in self._sites]

        some = [] if len(sites) == len(self._sites) else [str(sorted(sites))]
        return (yield from self._recall_or_measure(splices, "spliced", *some))

    @incremental
    def measure_removed(self, kept: Tensor) -> Increments[PromptMetrics]:
        """Returns per-prompt metrics of M_s with the nodes of `kept` `[node]` bool ablated, site by site."""
        packs = pack_circuit(self.problem, kept)
        return (yield from self._recall_or_measure(lambda batch: self._ablated_splices(batch, packs), "removed", kept))

    @incremental
    def evaluate(self, kept: Tensor, completeness: bool = True) -> Increments[Metrics]:
        """Returns average metrics of the circuit `kept` `[node]` bool, site by site."""
        measured = yield from self.measure(kept)
        metrics = self.summarise(measured)
        return (yield from self.with_completeness(metrics, kept)) if completeness else metrics

    def summarise(self, measured: PromptMetrics) -> Metrics:
        """Returns the averages of one run and the interval of its faithfulness, without completeness."""
        interval = self.interval(measured.logit_diff - self.baselines.empty.logit_diff)
        return replace(self.baselines.summarise(measured), faithfulness_interval=interval)

    def interval(self, change: Tensor) -> tuple[float, float] | None:
        """Returns the 95% bootstrap interval of the mean of `change` as a share of m(M) - m(empty).

        `change` `[prompt]` is a difference of two runs' logit differences: that of a circuit and the empty one gives
        its faithfulness, that of a circuit with and without a node the effect of the node.
        """
        gap = self.baselines.plain.logit_diff - self.baselines.empty.logit_diff
        return ratio_interval(change, gap, self.cluster)

    @cached_property
    def cluster(self) -> Tensor:
        """The number of the cluster of each prompt, `[prompt]` int64: twins share one."""
        pairs = self.problem.prompt_sets[self.split].pairs
        return clusters([pairs[prompt] for prompt in self.prompts.tolist()])

    @incremental
    def with_completeness(self, metrics: Metrics, kept: Tensor) -> Increments[Metrics]:
        """Returns `metrics` of the circuit `kept` with its completeness, site by site."""
        removed = yield from self.measure_removed(kept)
        return self.baselines.with_completeness(metrics, removed)

    @incremental
    def faithfulness(self, kept: Tensor) -> Increments[float]:
        """Returns the faithfulness against M of the circuit `kept` `[node]` bool, batch by batch."""
        return (yield from self.faithfulness_of_first(kept.unsqueeze(0)))[0]

    @incremental
    def faithfulness_of_first(self, kept: Tensor) -> Increments[list[float]]:
        """Returns the faithfulness of the first of the circuits `kept` `[circuit, node]` bool, batch by batch.

        Those are as many as one pass should run on the model's device (`circuits_at_once`), at least one.
        """
        return (yield from self._first(kept, "logit differences", self.circuit_splices))

    @incremental
    def faithfulness_without_first(self, removed: Tensor) -> Increments[list[float]]:
        """Returns the same of M_s with the nodes of each of `removed` `[circuit, node]` bool ablated: completeness."""
        return (yield from self._first(removed, "logit differences without", self._ablated_splices))

    def _first(
        self, kept: Tensor, question: str, splices: Callable[[Batch, Sequence[Pack], Circuits], list[Splice]]
    ) -> Increments[list[float]]:
        """Returns the faithfulness under `splices` of the first of the circuits `kept`; `question` names them."""
        model = self.problem.model
        blocks = model.n_layers - self.problem.sites[0].depth
        work = max(batch.n_tokens for batch in self.batches) * model.token_work * blocks
        every_latent = splices == self._ablated_splices
        count = circuits_at_once(self.problem, self.batches, len(kept), lambda n: work, every_latent=every_latent)
        first = kept[:count]
        increments = self.in_passes(first, partial(self._logit_difference_sums, splices))
        sums = yield from recalled_increments(increments, self.n_rounds, question, self.identity, first)
        return [self.baselines.faithfulness(total / len(self)) for total in sums]

    def in_passes(
        self, kept: Tensor, compute: Callable[[Circuits], Increments[list[float]]]
    ) -> Increments[list[float]]:
        """Returns what `compute` returns for the circuits `kept` `[circuit, node]` bool, a value for each.

        They run in one pass, or in several if memory runs out; then also with fewer prompts.

        Raises:
            OutOfMemory: there is no memory for one circuit on one prompt.
        """
        values = list[float]()
        while len(values) < len(kept):
            left = kept[len(values) :]
            one_pass, halve = partial(self._first_pass, left, compute), partial(self._halve_a_pass, left)
            values += yield from retry_halved(one_pass, halve)
        return values

    def _first_pass(
        self, kept: Tensor, compute: Callable[[Circuits], Increments[list[float]]]
    ) -> Increments[list[float]]:
        return compute(Circuits(kept[: self.most_circuits]))

    def _halve_a_pass(self, kept: Tensor, error: BaseException) -> None:
        """Makes passes half as large after `error` in the first over `kept`: in circuits, or else in prompts."""
        count = min(len(kept), self.most_circuits)
        if count > 1:
            for batch in self.batches:
                batch.forget_circuits()
            self.most_circuits = halve_circuits(count, f"evaluating on {self.split} prompts")
        else:
            self.halve(error)

    def halve(self, error: BaseException) -> None:
        """Makes batches half as large after `error`. Raises what `halve_prompts` raises."""
        size = halve_prompts(max(len(batch) for batch in self.batches), f"evaluating on {self.split} prompts", error)
        self.batches = []  # frees their memory before the new ones are made
        self.batches = self.problem.batches(self.split, self.prompts, size)

    def _logit_difference_sums(
        self, splices: Callable[[Batch, Sequence[Pack], Circuits], list[Splice]], circuits: Circuits
    ) -> Increments[list[float]]:
        """Returns the sum of the logit differences of all prompts under the `splices` of each of `circuits`."""
        problem, packs, sums = self.problem, pack_circuit(self.problem, circuits.union), [0.0] * len(circuits)
        for group in rounds(self.batches, problem.n_parallel):
            with torch.no_grad():
                batches = [batch.of_circuits(len(circuits)) for batch in group]
                passes = [
                    run_spliced(problem.model, problem.sites, batch, splices(batch, packs, circuits)).result
                    for batch in batches
                ]
                for batch, logits in zip(batches, run_in_threads(passes), strict=True):
                    add_logit_differences(sums, batch, logits)
            yield
        return sums

    def circuit_splices(self, batch: Batch, packs: Sequence[Pack], circuits: Circuits | None = None) -> list[Splice]:
        """Returns the splices of the circuit `packs`, or of `circuits` with these nodes, whose rows `batch` has."""
        masks = self._masks(packs, circuits)
        return [circuit_splice(self.problem, batch, site, packs[site], masks[site]) for site in self._sites]

    def _ablated_splices(self, batch: Batch, packs: Sequence[Pack], circuits: Circuits | None = None) -> list[Splice]:
        """Returns the splices of M_s without these nodes."""
        masks = self._masks(packs, circuits)
        bound = [BoundPack.bind(self.problem.sites[site], site, batch, packs[site]) for site in self._sites]
        return [AblatedSplice(bound[site], self._full(batch, site), masks[site]) for site in self._sites]

    def _masks(self, packs: Sequence[Pack], circuits: Circuits | None) -> list[Tensor | None]:
        """Returns the mask of each site's pack, which has the nodes of all `circuits`."""
        space = self.problem.space
        return [None if circuits is None else circuits.mask(space, site, packs[site]) for site in self._sites]

    def _full(self, batch: Batch, site: int) -> FullSplice:
        return FullSplice(self.problem.sites[site], batch, batch.errors[site], batch.runner(self.problem.model))

    def _recall_or_measure(
        self, splices: Callable[[Batch], Sequence[Splice]], *key: str | Tensor
    ) -> Increments[PromptMetrics]:
        """Returns the metrics under `splices` from the journal, or measures them; `key` names the splices."""
        count = self.n_rounds * len(self._sites)
        increments = retry_halved(lambda: self._measure(splices), self.halve)
        return recalled_increments(increments, count, self.identity, *key)

    @torch.no_grad()
    def _measure(self, splices: Callable[[Batch], Sequence[Splice]]) -> Increments[PromptMetrics]:
        problem, measured = self.problem, PromptMetrics.empty(len(self))
        passes = [run_spliced(problem.model, problem.sites, batch, splices(batch)) for batch in self.batches]
        for batch, logits in zip(self.batches, (yield from interleaved(passes, problem.n_parallel)), strict=True):
            self.fill(measured, batch, logits)
        return measured

    def fill(self, measured: PromptMetrics, batch: Batch, logits: Tensor) -> None:
        """Measures `logits` `[read, vocab]` of one batch and stores the metrics of its prompts in `measured`."""
        plain = self.problem.splits[self.split].plain_logits[batch.reads]
        measured.fill(self.indices_of(batch), logits, plain, batch.answers)

    def indices_of(self, batch: Batch) -> Tensor:
        """Returns where per-prompt metrics have the prompts of one of `batches`, `[prompt]` on the CPU."""
        return torch.searchsorted(self._prompts_on_cpu, batch.prompts_on_cpu)
