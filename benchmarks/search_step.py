"""The optimisation step that `find` runs: a default search under way, advanced step by step.

Nothing of the method is written a second time here. A search is begun, stored after its first step and gone on with
from there, as after a kill. With fewer active nodes the stored mask logits of all others are at their lower limit,
just before a step in which the method chooses anew which nodes take part.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from device_peak import synchronise

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.checkpoint import Checkpoint
from circuit_tui.core.search.methods.mask_step import THETA_LIMIT
from circuit_tui.core.search.methods.near_nodes import ALL_EVERY
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem

TARGET = 0.95
WARM_UP = 4
"""Steps before the first that counts: a step with all nodes, and the first of a new choice of nodes, cost more."""
LONGEST = ALL_EVERY - 1 - WARM_UP
"""Steps that count, before the method chooses nodes anew."""
LOOP = 0


class NotAStep(RuntimeError):
    """What was run is no step of an optimisation; its text says why."""


class SearchStep:
    """The steps of one search on `problem`, all train prompts in each; a call runs one.

    Each has the same nodes active: a search is used for `ALL_EVERY` steps at most, then gone on with from its start
    again, by `prepare`.

    Args:
        problem: what is searched.
        active: how many nodes take part, drawn at random; None for all.

    Attributes:
        loss: the loss that was last reported.
    """

    def __init__(self, problem: Problem, active: int | None = None) -> None:
        # A limit for the opening would be one of the step, too.
        problem = self._problem = replace(problem, batch_size=None)
        self.loss = math.nan
        self._splits = Evaluator(problem, "train"), Evaluator(problem, "test")
        self._folder = tempfile.TemporaryDirectory()
        self._running = self._search()
        next(self._running)
        self._start = self._stored()
        if active is not None:
            step, state = self._start
            off = torch.ones(len(problem.space), dtype=torch.bool)
            off[torch.randperm(len(off), generator=torch.Generator().manual_seed(3))[:active]] = False
            state["theta"] = state["theta"].masked_fill(off, -THETA_LIMIT)
            self._start = ALL_EVERY * math.ceil(step / ALL_EVERY), state
        self._begin()

    def __call__(self) -> None:
        """Runs a step.

        Raises:
            NotAStep: the loss is not finite, or the optimisation has ended.
            NoResult: the search found that a loss, a gradient or the mask is not finite.
        """
        told = next(self._running)
        self._left -= 1
        if told.stage != "optimise":
            raise NotAStep(f"the optimisation has ended: {self._running.attempt.loops.diverged or 'it has settled'}")
        if told.loss is not None:
            self.loss = told.loss
        if not math.isfinite(told.loss if told.loss is not None else 0.0):
            raise NotAStep(f"the loss of a step is {told.loss}")

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._problem.model.device

    @property
    def path(self) -> str:
        """How the steps run."""
        return self._running.attempt.step_path

    def prepare(self, steps: int = 1) -> None:
        """Begins again unless `steps` more, `LONGEST` at most, have the same nodes active. Not to be timed."""
        assert steps <= LONGEST
        if self._left < steps:
            self._begin()

    def next_step(self) -> int:
        """The number of the next step, as the search stores it; waits for the device."""
        return self._stored()[0]

    def active(self) -> int:
        """How many nodes take part in the steps."""
        return int(self._stored()[1]["near"].sum())

    def _begin(self) -> None:
        """Goes on from the stored start, and warms up."""
        Checkpoint(Path(self._folder.name)).save(LOOP, *self._start)
        self._running, self._left = self._search(), LONGEST + WARM_UP
        for _ in range(WARM_UP):
            self()
        synchronise(self.device)

    def _search(self) -> Search:
        spec = SearchSpec("mask", TARGET, 0, {"batch": len(self._problem.splits["train"])})
        search = Search(self._problem, *self._splits, spec)
        search.keep(Path(self._folder.name))
        return search

    def _stored(self) -> tuple[int, dict[str, Any]]:
        self._running.save()
        found = Checkpoint(Path(self._folder.name)).load(LOOP)
        assert found is not None
        return found
