"""A hard circuit that a search changes step by step, exactly evaluated on the search prompts and on a sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.evaluation.journal import recalled
from circuit_tui.core.evaluation.many_circuits import most_at_once
from circuit_tui.core.runtime.incremental import Increments
from circuit_tui.core.search.condition_losses import score_gradient
from circuit_tui.core.search.judge import Judgement
from circuit_tui.core.search.judged_circuit import JudgedCircuit
from circuit_tui.core.search.method import SearchMethod
from circuit_tui.core.search.objective import MaskedModel

PROBE_PROMPTS = 128
"""Prompts of the probe; with several ablations they share them, so that a probe costs the same."""


class ProbedCircuit:
    """One circuit on all search prompts and on the probe, a random sample of them.

    The probe and gradients decide which change to try first. Whether a change is made is decided on all search prompts.

    Args:
        attempt: the search, to which every circuit is offered.
        kept: the first circuit, `[node]` bool.

    Attributes:
        attempt: the search.
        share_done: how much of the present stage is over, 0..1, as far as that is known.
        minimal: the last circuit `[node]` bool from which no single node could be dropped, None before there is one.
        untried: how many nodes of `minimal` were not tried alone, since it is large.
        probe_losses: by node, how much score the circuit lost on the probe without it when that was last measured.
    """

    def __init__(self, attempt: SearchMethod[Any], kept: Tensor) -> None:
        self.attempt = attempt
        self.share_done = 0.0
        self.minimal: Tensor | None = None
        self.untried = 0
        self.probe_losses = dict[int, float]()
        self._live = JudgedCircuit(attempt.judge, kept)
        order = torch.randperm(len(attempt.train), generator=attempt.generator)
        chosen = order[: PROBE_PROMPTS // len(attempt.judge.evaluators)]
        self._probe = JudgedCircuit(attempt.judge.on(chosen, attempt.problem), kept)
        self._masked = MaskedModel(attempt.problem, torch.arange(len(attempt.problem.space)))

    @property
    def kept(self) -> Tensor:
        """The circuit, `[node]` bool."""
        return self._live.kept

    @property
    def nodes(self) -> list[int]:
        """The numbers of its nodes, ascending."""
        return [int(node) for node in self.kept.nonzero()[:, 0]]

    @property
    def judgement(self) -> Judgement:
        """What it does on the search prompts, exactly."""
        return self._live.judgement

    @property
    def score(self) -> float:
        """Its exact score on the search prompts."""
        return self.judgement.score

    @property
    def reaches_target(self) -> bool:
        """Whether it reaches the target on the search prompts."""
        return self.attempt.score_reaches(self.score)

    def with_nodes(self, nodes: Sequence[int], on: bool) -> Tensor:
        """The circuit with `nodes` switched on or off, `[node]` bool."""
        kept = self.kept.clone()
        kept[list(nodes)] = on
        return kept

    def change(self, kept: Tensor) -> Increments[None]:
        """Makes `kept` `[node]` bool the circuit, evaluates it on all search prompts and offers it to the search."""
        yield from self._live.advance_to(kept)
        self._probe.advance_to(kept).result()
        self.attempt.offer(self.kept, self.judgement)

    def drop_first_possible(self, groups: Sequence[Sequence[int]], *, is_stage: bool = False) -> Increments[int | None]:
        """Drops the first of `groups`, each the numbers of some nodes, without which the rest reaches the target.

        Returns its index, None if no group can go. The target is to be reached on all search prompts. A pass tries
        twice as many groups as the one before, as far as the device runs several circuits at once; a drop makes those
        tried in vain behind it worthless. With `is_stage` the groups tried are the share of the stage that is done.
        """
        tried, ahead, target = 0, 1, self.attempt.spec.target
        while tried < len(groups) and not self.attempt.stopped:
            ahead = min(ahead, most_at_once(self.attempt.problem))
            trials = torch.stack([self.with_nodes(nodes, False) for nodes in groups[tried : tried + ahead]])
            reached = yield from self._live.first_alternatives_reach(trials, target)
            if reached[-1]:
                tried, before = tried + len(reached) - 1, self.kept
                yield from self.change(trials[len(reached) - 1])
                if len(trials) == 1 or self.reaches_target:
                    return tried
                yield from self.change(before)  # a pass of several circuits was wrong
                tried += 1
            else:
                tried += len(reached)
            if is_stage:
                self.share_done = tried / len(groups)
            ahead *= 2
        return None

    @property
    def probe_score(self) -> float:
        """Its score on the probe."""
        return self._probe.judgement.score

    def probe_scores_with_first_toggled(self, nodes: Sequence[int]) -> list[float]:
        """The scores on the probe with the first of `nodes` alone switched, then the second: as many as a pass runs."""
        return [judgement.score for judgement in self._probe.judge_first_toggled(nodes).result()]

    def measure_probe_losses(self, nodes: Sequence[int]) -> Increments[None]:
        """Measures how much score the circuit loses on the probe without each of `nodes`; one increment for each.

        A loss stays a good guess while a few other nodes are dropped, and it only decides what is tried first.
        """
        whole = self.probe_score
        while nodes and not self.attempt.stopped:
            scores = self.probe_scores_with_first_toggled(nodes)
            for node, value in zip(nodes, scores, strict=False):
                self.probe_losses[node] = whole - value
                yield
            nodes = nodes[len(scores) :]

    def sorted_by_probe_loss(self, nodes: Iterable[int]) -> list[int]:
        """`nodes` by their last probe loss, smallest first; nodes that were never measured come before all others."""
        return sorted(nodes, key=lambda node: self.probe_losses.get(node, -float("inf")))

    def sorted_by_gradient(self, gradient: Tensor) -> list[int]:
        """The circuit's nodes by the size of their `gradient` `[node]`, smallest first."""
        return sorted(self.nodes, key=lambda node: abs(float(gradient[node])))

    def mask_gradient(self) -> Tensor:
        """Gradient of the score on the probe with respect to the mask of every candidate, `[node]` on the CPU."""
        return self._recalled_gradient("gradient", self._masked)

    def mask_gradient_of_kept(self) -> Tensor:
        """The same gradient for the circuit's nodes alone, which is cheaper; 0 for all others."""
        return self._recalled_gradient("gradient of kept", None)

    def _recalled_gradient(self, question: str, masked: MaskedModel | None) -> Tensor:
        def compute() -> Tensor:
            active = masked or MaskedModel(self.attempt.problem, self.kept.nonzero()[:, 0])
            return score_gradient(active, self._probe.judge, self._probe.judgement, self.kept)

        return recalled(compute, question, self._probe.judge.evaluators[0].identity, self.kept)
