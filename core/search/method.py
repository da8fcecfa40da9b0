"""What a search method is: an algorithm that runs step by step and offers hard circuits."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

import torch
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.checkpoint import Checkpoint, Stateful
from circuit_tui.core.search.judge import Judge, Judgement
from circuit_tui.core.search.loops import ResumableLoops
from circuit_tui.core.search.method_settings import MethodSettings
from circuit_tui.core.search.offered_circuits import OfferedCircuits
from circuit_tui.core.search.progress import MaskHistory, ProgressMeter
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.views import SearchProgress, SearchStage, StepPath

Settings = TypeVar("Settings", bound=MethodSettings)
Steps = Generator[SearchProgress, None, None]
"""The steps of a search: a report after each."""


class SearchMethod(ABC, Generic[Settings]):
    """One attempt at a search. A `Search` makes another one when memory runs out.

    A subclass writes `steps`: a generator that yields a `progress` report after each step, passes each hard circuit
    that it has evaluated to `offer`, and returns when `stopped`. It draws from `generator` alone and decides nothing by
    the clock, so that another process can repeat it after a crash. An optimisation runs in a `loop`; its steps are then
    not repeated but restored.

    Attributes:
        problem: what is searched.
        train: evaluates circuits on the search prompts, the only prompts that a method sees.
        spec: how to search, with all settings.
        settings: the settings of the spec, typed.
        generator: the only source of random numbers.
        judge: judges circuits on the search prompts by all that the spec asks for.
        offered: the circuits found so far.
        masks: soft masks of the optimisation.
        meter: counts steps and seconds.
        loops: the optimisation loops.
        stop_requested: whether the user has asked the search to end.
        notes: sentences that the result has among its warnings.
        step_path: how the steps of an optimisation run (`step_runner.py`); empty on a CPU.
    """

    def __init__(
        self,
        problem: Problem,
        train: Evaluator,
        spec: SearchSpec,
        settings: Settings,
        checkpoint: Checkpoint | None = None,
        started: float | None = None,
    ) -> None:
        self.problem, self.train, self.spec, self.settings = problem, train, spec, settings
        self.generator = torch.Generator().manual_seed(spec.seed)
        self.judge = Judge(spec, train)
        self.stop_requested = False
        self.notes: list[str] = []
        self.step_path: StepPath = "" if problem.model.device.type == "cpu" else "eager"
        self.offered = OfferedCircuits(spec.target, len(problem.space))
        self.meter = ProgressMeter(time.monotonic() if started is None else started)
        self.masks = MaskHistory()
        self.loops = ResumableLoops((self.offered, self.meter, self.masks), checkpoint)

    @abstractmethod
    def steps(self) -> Steps:
        """Searches, one step after another."""

    @property
    def stopped(self) -> bool:
        """Whether to end at the next step: the user has asked for it, or the optimisation has diverged."""
        return self.stop_requested or bool(self.loops.diverged)

    def loop(
        self,
        n_steps: int,
        over: Callable[[], bool] = lambda: False,
        reads: Callable[[int], bool] = lambda step: True,
        **state: Tensor | Stateful,
    ) -> Iterator[int]:
        """The step numbers of an optimisation, from the one before which an earlier process stored it.

        `state` is all that one step leaves for the next. The loop ends early once `over()`, which asks only
        what is stored. The body of the loop yields exactly once, at its end. Between the steps that `reads(step)`
        nothing asks the device for anything.

        Raises:
            CheckpointError: what is stored does not fit `state`.
        """
        stored = {**state, "generator": self.generator}
        return self.loops.run(n_steps, stored, lambda: self.stopped, over, reads)

    def offer(self, kept: Tensor, judgement: Judgement) -> None:
        """Records the hard circuit `kept` `[node]` bool with its exact judgement on the search prompts."""
        self.offered.add(kept, judgement.faithfulness, judgement.score)

    def score_reaches(self, score: float) -> bool:
        """Whether a circuit of this score reaches the target."""
        return score >= self.spec.target

    def progress(
        self,
        stage: SearchStage,
        kept: Tensor,
        share_done: float,
        *,
        loss: float | None = None,
        soft: float | None = None,
    ) -> SearchProgress:
        """The report of one step.

        Args:
            stage: what the step belongs to.
            kept: the circuit as it is now, `[node]` bool.
            share_done: how much of the whole search is over, 0..1.
            loss: the loss of an optimisation's step.
            soft: the faithfulness under its soft mask.
        """
        if loss is not None:
            self.loops.watch(loss)
        step, steps, seconds, left = self.meter.advance(share_done)
        counts = self.problem.space.counts(kept)
        hard = self.offered.latest
        return SearchProgress(
            self.spec.method, stage, step, steps, loss, soft, hard, sum(counts), counts, seconds, left
        )
