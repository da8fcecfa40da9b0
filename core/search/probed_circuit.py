"""A hard circuit that a search changes step by step, exactly evaluated on the search prompts and on a sample."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.evaluation.journal import recalled
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
        self._probe = JudgedCircuit(attempt.judge.on(order[: PROBE_PROMPTS // len(attempt.judge.evaluators)]), kept)
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

    def with_nodes(self, nodes: list[int], on: bool) -> Tensor:
        """The circuit with `nodes` switched on or off, `[node]` bool."""
        kept = self.kept.clone()
        kept[nodes] = on
        return kept

    def change(self, kept: Tensor) -> Increments[None]:
        """Makes `kept` `[node]` bool the circuit, evaluates it on all search prompts and offers it to the search."""
        yield from self._live.advance_to(kept)
        self._probe.advance_to(kept).result()
        self.attempt.offer(self.kept, self.judgement)

    def drop_if_reached(self, nodes: list[int]) -> Increments[bool]:
        """Drops `nodes` if the rest reaches the target on all search prompts; returns whether it did."""
        trial = self.with_nodes(nodes, False)
        reached = yield from self._live.alternative_reaches(trial, self.attempt.spec.target)
        if reached:
            yield from self.change(trial)
        return reached

    def probe_score(self, kept: Tensor) -> float:
        """The score of the circuit `kept` `[node]` bool on the probe."""
        return self._probe.judge_alternative(kept).result().score

    def measure_probe_losses(self, nodes: Iterable[int]) -> Increments[None]:
        """Measures how much score the circuit loses on the probe without each of `nodes`; one increment for each.

        A loss stays a good guess while a few other nodes are dropped, and it only decides what is tried first.
        """
        whole = self._probe.judgement.score
        for node in nodes:
            if self.attempt.stopped:
                return
            self.probe_losses[node] = whole - self.probe_score(self.with_nodes([node], False))
            yield

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
