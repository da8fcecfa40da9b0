"""An experiment: an opened problem with the evaluators of its search prompts and of its held-out ones.

Audits, sweeps and worker processes need no more than this. A session owns one and adds what a user does with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.evaluation.evaluator import BATCH_PROMPTS, Evaluator
from circuit_tui.core.opening.open_problem import OpenedProblem, Parts, open_problem
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.views import LoadProgress


@dataclass(frozen=True, slots=True)
class Experiment:
    """See the module. `train` has the search prompts, `test` the held-out ones."""

    opened: OpenedProblem
    train: Evaluator
    test: Evaluator

    @classmethod
    def of(cls, opened: OpenedProblem) -> Experiment:
        """Returns the experiment on an opened problem; runs M, M_s and the empty circuit on both splits."""
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
    parts: Parts | None = None,
) -> Experiment:
    """Opens what `request` asks for. The arguments are those of `open_problem`.

    Raises:
        UserError: anything that cannot be found, does not fit, or makes no sense together.
    """
    return Experiment.of(open_problem(request, progress, circuit, parts))
