"""A search as its caller holds it: an iterator of progress reports that survives a kill and a full device."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from circuit_tui.core.errors import NoResult
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.runtime.out_of_memory import is_out_of_memory
from circuit_tui.core.search.checkpoint import Checkpoint
from circuit_tui.core.search.frontier import EvaluatedCircuit, thinned
from circuit_tui.core.search.loops import NotFinite
from circuit_tui.core.search.memory_fallback import MemoryFallback
from circuit_tui.core.search.method import SearchMethod, Steps
from circuit_tui.core.search.not_finite import explain_not_finite
from circuit_tui.core.search.progress import MaskHistory
from circuit_tui.core.search.registry import load_class, method
from circuit_tui.core.search.result import evaluate_result
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.views import FrontierPoint, SearchProgress, SearchResult

SHOWN_POINTS = 200


class Search:
    """A search under way: an iterator of `SearchProgress`, one short step for each `next`.

    Args:
        problem: what to search.
        train: evaluates circuits on the search prompts.
        test: evaluates circuits on the held-out prompts; used only once the search has ended.
        spec: how to search.
        circuit_only: whether to leave out the frontier on the held-out prompts and completeness.

    Attributes:
        spec: how it searches, with all settings.
        attempt: the search method at work. When memory runs out, another attempt with fewer prompts in a pass takes its
            place and repeats what it had done.
        result: what it found; None until it has ended.

    Raises:
        UserError: an unknown method or setting, or a wrong value.
    """

    def __init__(
        self, problem: Problem, train: Evaluator, test: Evaluator, spec: SearchSpec, *, circuit_only: bool = False
    ) -> None:
        self._settings = spec.parsed_settings()
        self.spec = replace(spec, settings=self._settings.values())
        self.train, self.test = train, test
        self.result: SearchResult | None = None
        self._circuit_only = circuit_only
        self._fallback = MemoryFallback(f"the search ({spec.method})")
        self._checkpoint: Checkpoint | None = None
        self.attempt = self._new_attempt(problem, time.monotonic())
        self._steps = self._run()

    def __iter__(self) -> Iterator[SearchProgress]:
        return self

    def __next__(self) -> SearchProgress:
        """Runs the next step. Raises NoResult if a loss, a gradient, a mask or a score ceases to be finite."""
        while True:
            try:
                with self._journal():
                    return next(self._steps)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                failure = error.with_traceback(None)  # a traceback holds on to every tensor of the step
            except NotFinite as error:
                raise NoResult(explain_not_finite(self.problem, self.train, str(error))) from error
            self._attempt_again(failure)

    @property
    def problem(self) -> Problem:
        """What is searched."""
        return self.attempt.problem

    @property
    def masks(self) -> MaskHistory:
        """The soft masks of the optimisation so far."""
        return self.attempt.masks

    def stop(self) -> None:
        """Ends the search at its next step; it then returns the best circuit so far."""
        self.attempt.stop_requested = True

    def reaches(self, size: int) -> bool:
        """Whether the best circuit of `size` nodes so far reaches the target on the search prompts."""
        circuit = self.circuit(size)
        return circuit is not None and self.attempt.score_reaches(circuit.score)

    def keep(self, folder: Path) -> None:
        """Before the first step: stores in `folder` what another process needs to go on, and goes on from it.

        Raises:
            OSError: `folder` cannot be used.
        """
        self._checkpoint = Checkpoint(folder)
        self.attempt = self._new_attempt(self.problem, self.attempt.meter.started)

    def save(self) -> None:
        """Between two steps: makes all that was done so far outlive this process. Does nothing without `keep`.

        Raises:
            OSError: it cannot be written.
        """
        if self._checkpoint is not None:
            self.attempt.loops.save()
            self._checkpoint.journal.flush()

    def frontier(self) -> tuple[FrontierPoint, ...]:
        """The circuits found so far that no smaller one betters, about `SHOWN_POINTS` at most.

        Ascending in size, also beyond the size that would be returned. `test` is set where the result has it.
        """
        tested = {point.size: point.test for point in self.result.frontier} if self.result else {}
        circuits = self.attempt.offered.frontier()
        shown = {circuit.size for circuit in thinned(circuits, SHOWN_POINTS)} | set(tested)
        return tuple(
            FrontierPoint(circuit.size, circuit.faithfulness, tested.get(circuit.size))
            for circuit in circuits
            if circuit.size in shown
        )

    def circuit(self, size: int) -> EvaluatedCircuit | None:
        """The best circuit of `size` nodes so far, None if there is none."""
        return self.attempt.offered.of_size(size)

    def _new_attempt(self, problem: Problem, started: float) -> SearchMethod[Any]:
        """A fresh attempt at `problem`; the search began at `started` on the clock of this process."""
        method_class: type[SearchMethod[Any]] = load_class(method(self.spec.method).method_path)
        return method_class(problem, self.train, self.spec, self._settings, self._checkpoint, started)

    def _run(self) -> Steps:
        attempt = self.attempt
        for _ in attempt.judge.prepare():
            yield attempt.progress("optimise", torch.zeros(len(attempt.problem.space), dtype=torch.bool), 0.0)
        yield from attempt.steps()
        evaluation = evaluate_result(attempt, self.test, circuit_only=self._circuit_only, note=self._fallback.note)
        last, self.result = yield from evaluation
        yield last

    def _journal(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._checkpoint is None else self._checkpoint.journal.active()

    def _attempt_again(self, error: BaseException) -> None:
        """Begins another attempt with fewer prompts in a pass; it repeats what was done before the step that failed.

        Evaluations in the journal and stored steps of loops are not computed again.
        """
        attempt = self.attempt
        limit = attempt.problem.batch_size or max(len(batch) for batch in self.train.batches)
        problem = self._fallback.reduce(attempt.problem, limit, error)
        attempt.loops.abandon_step()
        self.save()
        if self._checkpoint is not None:
            self._checkpoint = Checkpoint(self._checkpoint.folder)
        self.attempt = self._new_attempt(problem, attempt.meter.started)
        self.attempt.stop_requested = attempt.stop_requested
        self._steps = self._run()
