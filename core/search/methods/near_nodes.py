"""Which nodes take part in a step of the mask method: all in every 25th, in between those that can soon be kept.

A node whose theta is at its lower limit hardly feels the gradient. A third of the way through, nine in ten are there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.search.methods.mask_step import THETA_LIMIT
from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.splice.problem import Problem

# All nodes take part in every 25th step, in between only nodes with a theta above this share of the limit.
ALL_EVERY, NEAR = 25, 0.95
SHRUNK = 0.5
"""Where a new set has its price, it must be this share of the one before; only a node it lacks comes in at once."""


class NearNodes:
    """The active nodes of each step.

    Args:
        problem: what is searched.
        all_nodes: the model with all nodes active.
        keep: whether to keep a set that has all near nodes until it is twice as large as needed: a recorded step costs
            as much as several replays, and a node too many changes nothing but the time.

    Attributes:
        near: `[node]` bool on the CPU, the nodes that take part in between.
    """

    def __init__(self, problem: Problem, all_nodes: MaskedModel, *, keep: bool) -> None:
        self._problem, self._all_nodes, self._keep = problem, all_nodes, keep
        self.near = torch.ones(len(problem.space), dtype=torch.bool)
        self._masked: MaskedModel | None = None

    def at(self, step: int, theta: Tensor) -> MaskedModel:
        """The model with the active nodes of step `step`, before which theta `[node]` is as it is now.

        Only at every 25th step is theta looked at.
        """
        if step % ALL_EVERY == 0:
            wanted = (theta > -NEAR * THETA_LIMIT).cpu()
            lacks = bool((wanted & ~self.near).any())
            if not self._keep or lacks or int(wanted.sum()) <= SHRUNK * int(self.near.sum()):
                if not torch.equal(wanted, self.near):
                    self._masked = None
                self.near.copy_(wanted)
            return self._all_nodes
        if self._masked is None:
            every = bool(self.near.all())
            self._masked = self._all_nodes if every else MaskedModel(self._problem, self.near.nonzero()[:, 0])
        return self._masked

    @staticmethod
    def looks_after(step: int) -> bool:
        """Whether theta is looked at after step `step`."""
        return (step + 1) % ALL_EVERY == 0
