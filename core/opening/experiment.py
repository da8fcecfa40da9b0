"""An experiment: an opened problem with evaluators for its search prompts and its held-out prompts.

Audits, sweeps and workers need no more than this. A session owns an experiment, and adds everything that a user does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.evaluation.evaluator import BATCH_PROMPTS, Evaluator
from circuit_tui.core.opening.open_problem import ModelAndSites, OpenedProblem, open_problem
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.views import LoadProgress


@dataclass(frozen=True, slots=True)
class Experiment:
    """An opened problem with its evaluators: `train` has the search prompts, `test` the held-out prompts."""

    opened: OpenedProblem
    train: Evaluator
    test: Evaluator

    @classmethod
    def of(cls, opened: OpenedProblem) -> Experiment:
        """Returns the experiment of an opened problem; runs M, M_s and the empty circuit on both splits."""
        train, test = (Evaluator(opened.problem, split, size=BATCH_PROMPTS) for split in ("train", "test"))
        return cls(opened, train, test)

    @property
    def problem(self) -> Problem:
        """The problem that is open."""
        return self.opened.problem


def open_experiment(
    request: OpenRequest,
    progress: Callable[[LoadProgress], None] = lambda stage: None,
    circuit: CircuitFile | None = None,
    loaded: ModelAndSites | None = None,
) -> Experiment:
    """Opens the experiment of `request`; the arguments are those of `open_problem`.

    Raises:
        UserError: something cannot be found, does not fit, or makes no sense together.
    """
    return Experiment.of(open_problem(request, progress, circuit, loaded))
