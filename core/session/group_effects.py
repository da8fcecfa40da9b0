"""The exact effect of each group of nodes on held-out faithfulness, of the group as one."""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.evaluation.many_circuits import most_at_once
from circuit_tui.core.latents.annotations import Annotations, GroupView
from circuit_tui.core.runtime.incremental import Incremental
from circuit_tui.core.session.circuit_numbers import CircuitNumbers


class GroupEffects:
    """The effects of groups in the current circuit, computed in increments.

    The effect of a group is the drop in test faithfulness when all its kept nodes are ablated together.
    """

    def __init__(self, numbers: CircuitNumbers) -> None:
        self._numbers = numbers
        self._kept = numbers.kept
        self._effects: dict[tuple[int, ...], float] = {}
        self._under_way: tuple[list[tuple[int, ...]], Incremental[list[float]]] | None = None

    def known(self, kept: Tensor) -> dict[tuple[int, ...], float]:
        """Returns the effects in the circuit `kept` that are computed, by the nodes of the group."""
        self._follow(kept)
        return dict(self._effects)

    def views(self, kept: Tensor, annotations: Annotations) -> tuple[GroupView, ...]:
        """Returns all groups as a screen shows them."""
        effects = self.known(kept)
        return tuple(
            GroupView(group, int(kept[list(group.nodes)].sum()), effects.get(group.nodes))
            for group in annotations.groups
        )

    def advance(self, kept: Tensor, annotations: Annotations) -> bool:
        """Computes one increment for the circuit `kept`, whose numbers are exact; returns whether there was one."""
        self._follow(kept)
        if self._under_way is None:
            live = self._numbers.live
            groups = self._missing(kept, annotations)[: most_at_once(live.evaluator.problem)]
            if not groups:
                return False
            without = torch.stack([kept.index_fill(0, torch.tensor(nodes), False) for nodes in groups])
            self._under_way = groups, live.evaluate_first_alternatives(without)
        groups, evaluation = self._under_way
        try:
            next(evaluation)
        except StopIteration as end:
            baselines = self._numbers.live.evaluator.baselines
            for nodes, value in zip(groups, end.value, strict=False):
                self._effects[nodes] = self._numbers.test.faithfulness - baselines.faithfulness(value)
            self._under_way = None
        return True

    def done(self, kept: Tensor, annotations: Annotations) -> bool:
        """Whether every group with a kept node has its effect."""
        self._follow(kept)
        return not self._missing(kept, annotations)

    def _missing(self, kept: Tensor, annotations: Annotations) -> list[tuple[int, ...]]:
        """Returns the nodes of the groups that have a kept node and no effect yet."""
        groups = [group.nodes for group in annotations.groups if group.nodes not in self._effects]
        return [nodes for nodes in groups if bool(kept[list(nodes)].any())]

    def _follow(self, kept: Tensor) -> None:
        if kept is not self._kept and not torch.equal(kept, self._kept):
            self._effects, self._under_way = {}, None
        self._kept = kept
