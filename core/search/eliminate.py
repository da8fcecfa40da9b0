"""Exact changes to a hard circuit on all search prompts: grow, drop in bulk, drop one by one, go on below the target.

Every circuit that is kept has been evaluated; gradients only decide what to try first. The gradient of faithfulness f
with respect to the mask, at the circuit itself, estimates what dropping (m: 1 to 0) or adding (0 to 1) a node would
do.

A probe, a sample of the search prompts, ranks what to try where that is many; whether a change is made is decided on
all of them.

The stages are computations in slices (`core/runtime/incremental.py`): they yield after each batch of prompts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.journal import recalled
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.runtime.incremental import Increments
from circuit_tui.core.search.objective import MaskedModel, faithfulness_gradient
from circuit_tui.core.search.search import Search

GROW_ROUNDS = 30
PROBE_PROMPTS = 128
PROBE_ROUNDS = 2
MAX_FAILURES = 3
FRONTIER_SHARE = 5


class Elimination:
    """One circuit on the search prompts, changed step by step and always exactly evaluated.

    Attributes:
        share: how much of the present stage is done, 0..1, as far as that is known.
        minimal: the last circuit `[node]` bool from which no single node could be dropped, None before there is one.
    """

    def __init__(self, search: Search, kept: Tensor) -> None:
        self.search = search
        self.share = 0.0
        self.minimal: Tensor | None = None
        self._losses = dict[int, float]()
        self._live = LiveCircuit(search.train, kept)
        order = torch.randperm(len(search.train), generator=search.generator)
        self._probe = LiveCircuit(Evaluator(search.problem, "train", order[:PROBE_PROMPTS]), kept)
        self._masked = MaskedModel(search.problem, torch.arange(len(search.problem.space)))

    @property
    def kept(self) -> Tensor:
        """The circuit, `[node]` bool."""
        return self._live.kept

    @property
    def nodes(self) -> list[int]:
        """Its node numbers."""
        return [int(node) for node in self.kept.nonzero()[:, 0]]

    @property
    def faithfulness(self) -> float:
        """Its exact faithfulness against M on the search prompts."""
        return self.search.train.baselines.faithfulness(self._live.measured.mean_logit_diff)

    @property
    def score(self) -> float:
        """Its score: how close its faithfulness is to 1."""
        return self.search.score(self.faithfulness)

    def change(self, kept: Tensor) -> Increments[None]:
        """Makes `kept` `[node]` bool the circuit and offers it to the search."""
        yield from self._live.advance_to(kept)
        self._probe.advance_to(kept).result()
        self.search.offer(self.kept, self.faithfulness)

    def with_nodes(self, nodes: list[int], on: bool) -> Tensor:
        """The circuit with `nodes` switched on or off, `[node]` bool."""
        kept = self.kept.clone()
        kept[nodes] = on
        return kept

    def score_without(self, node: int) -> Increments[float]:
        """Exact score of the circuit without `node`."""
        value = yield from self._live.evaluate_without(node)
        return self._score_of(value)

    def _score_of(self, logit_difference: float) -> float:
        return self.search.score(self.search.train.baselines.faithfulness(logit_difference))

    def probed_without(self, node: int) -> float:
        """Score on the probe of the circuit without `node`."""
        return self._probed(self._probe.evaluate_without(node).result())

    def probe_losses(self, nodes: list[int]) -> Increments[None]:
        """Measures what the probe's score loses without each of `nodes`, one in a slice, and remembers it.

        A loss stays a good guess when a few other nodes go: what remembers it only decides what to try first.
        """
        whole = self._probed(self._probe.measured.mean_logit_diff)
        for node in nodes:
            if self.search.stopped:
                return
            self._losses[node] = whole - self.probed_without(node)
            yield

    def least_lost(self, nodes: list[int]) -> list[int]:
        """`nodes` by remembered loss, smallest first; those never measured come first of all."""
        return sorted(nodes, key=lambda node: self._losses.get(node, -float("inf")))

    def probed(self, kept: Tensor) -> float:
        """Score on the probe of the circuit `kept` `[node]` bool."""
        return self._probed(self._probe.evaluate_alternative(kept).result())

    def _probed(self, logit_difference: float) -> float:
        return self.search.score(self._probe.evaluator.baselines.faithfulness(logit_difference))

    def gradient(self) -> Tensor:
        """Gradient of the probe's faithfulness with respect to the mask of every candidate, `[node]` on the CPU."""
        return self._gradient("gradient", self._masked)

    def gradient_of_kept(self) -> Tensor:
        """The same for the circuit's nodes alone, which is cheaper; 0 for all others."""
        return self._gradient("gradient of kept", None)

    def _gradient(self, question: str, masked: MaskedModel | None) -> Tensor:
        return recalled(lambda: self._compute_gradient(masked), question, self._probe.evaluator.identity, self.kept)

    def _compute_gradient(self, masked: MaskedModel | None) -> Tensor:
        masked = masked or MaskedModel(self.search.problem, self.kept.nonzero()[:, 0])
        return faithfulness_gradient(masked, self._probe.evaluator, self.kept)

    def grow(self) -> Increments[None]:
        """Adds what promises to bring faithfulness towards 1, until the target is reached or nothing helps any more."""
        search = self.search
        best, since = self.score, 0
        for round_ in range(GROW_ROUNDS):
            if search.stopped or search.reaches(self.faithfulness) or since >= 5:
                return
            gain = self.gradient() * (1 if self.faithfulness < 1 else -1)
            gain[self.kept] = -float("inf")
            count = min(max(1, len(self.nodes) // 20), int((gain > 0).sum()))
            if count == 0:
                return
            yield from self.change(self.with_nodes(gain.topk(count)[1].tolist(), True))
            since = 0 if self.score > best else since + 1
            best = max(best, self.score)
            self.share = round_ / GROW_ROUNDS

    def in_bulk(self) -> Increments[None]:
        """Drops as many nodes at once as the target allows, smallest gradient first, until one is too many."""
        search = self.search
        count, start = len(self.nodes) // 4, len(self.nodes)
        while count >= 1 and search.reaches(self.faithfulness):
            gradient = self.gradient_of_kept()
            order = sorted(self.nodes, key=lambda node: abs(float(gradient[node])))
            while count >= 1:
                if search.stopped:
                    return
                self.share = 1 - count / start
                if (yield from self._change_if_enough(order[:count])):
                    count = min(count, len(self.nodes) // 4)
                    break
                count //= 2

    def by_probe(self) -> Increments[None]:
        """Drops single nodes that can go by what the probe loses without them, best first, for a few rounds.

        Each round measures again the half that lost least in the round before.
        """
        search = self.search
        nodes = self.nodes
        for _ in range(PROBE_ROUNDS):
            if not search.reaches(self.faithfulness):
                return
            for done, _ in enumerate(self.probe_losses(nodes)):
                self.share = done / len(nodes)
                yield
            dropped = yield from self.drop_together(self.least_lost(nodes))
            if dropped <= len(self.nodes) // 20:
                return
            nodes = self.least_lost(self.nodes)[: len(self.nodes) // 2]

    def drop_together(self, order: list[int]) -> Increments[int]:
        """Drops nodes of `order` while their remembered losses, added up, leave the target in reach.

        Fewer at a time where the sum was wrong, and none that alone is too many; a few of those in a row end it, for
        the losses are then no longer worth much. Returns how many went.
        """
        search, before, failures = self.search, len(self.nodes), 0
        while order and failures < MAX_FAILURES and not search.stopped:
            count, left = 0, self.score
            for node in order:
                left -= self._losses[node]
                if not search.reaches_score(left):
                    break
                count += 1
            if count == 0:
                break
            while count > 0 and not (yield from self._change_if_enough(order[:count])):
                count //= 2
            failures = 0 if count else failures + 1
            order = order[max(1, count) :]
        return before - len(self.nodes)

    def _change_if_enough(self, nodes: list[int]) -> Increments[bool]:
        trial = self.with_nodes(nodes, False)
        value = yield from self._live.evaluate_alternative(trial)
        enough = self.search.reaches_score(self._score_of(value))
        if enough:
            yield from self.change(trial)
        return enough

    def drop_if_enough(self, node: int) -> Increments[bool]:
        """Drops `node` if what is left still reaches the target on all search prompts; returns whether it did."""
        score = yield from self.score_without(node)
        if not self.search.reaches_score(score):
            return False
        yield from self.change(self.with_nodes([node], False))
        return True

    def to_minimal(self) -> Increments[None]:
        """Drops single nodes until none can go without missing the target: each is tried after the last drop."""
        search = self.search
        if not search.reaches(self.faithfulness):
            return
        yield from self.probe_losses([node for node in self.nodes if node not in self._losses])
        # What can go most likely comes first: each drop puts all that was tried before it to the test again.
        queue, needed = self.least_lost(self.nodes), 0
        while needed < len(queue):
            if search.stopped:
                return
            node = queue.pop(0)
            if (yield from self.drop_if_enough(node)):
                needed = 0
            else:
                queue.append(node)
                needed += 1
            self.share = needed / max(1, len(queue))
        self.minimal = self.kept

    def below_target(self) -> Increments[None]:
        """Goes on dropping what hurts least, down to one node, for the frontier.

        A few nodes go at a time; of half as many more with the smallest gradients, those that damage the probe least.
        """
        search, start = self.search, max(1, len(self.nodes))
        while len(self.nodes) > 1:
            gradient = self.gradient_of_kept()
            self.share = 1 - len(self.nodes) / start
            yield
            count = max(1, len(self.nodes) // FRONTIER_SHARE)
            order = sorted(self.nodes, key=lambda node: abs(float(gradient[node])))[: max(4, count * 3 // 2)]
            yield from self.probe_losses(order)
            if search.stopped:
                return
            yield from self.change(self.with_nodes(self.least_lost(order)[:count], False))
