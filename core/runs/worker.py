"""What a worker does with an order: loads model and SAEs once, opens each task once, runs the searches."""

from __future__ import annotations

from circuit_tui.core.errors import OutOfMemory, UserError
from circuit_tui.core.opening.experiment import Experiment, open_experiment
from circuit_tui.core.opening.open_problem import Parts, load_parts
from circuit_tui.core.runs.order import RunOrder
from circuit_tui.core.runs.record import RunRecord
from circuit_tui.core.runs.run_one import run_one
from circuit_tui.core.views import LoadProgress
from circuit_tui.core.workers.pool import ReportSteps


class Worker:
    """Keeps the model and the experiment of the last order, and why others could not be opened."""

    def __init__(self) -> None:
        self._parts: tuple[str, Parts] | None = None
        self._experiment: tuple[str, Experiment] | None = None
        self._refused: dict[str, str] = {}

    def __call__(self, order: RunOrder, report: ReportSteps) -> RunRecord:
        """Runs `order`; `report` hears of every step.

        Raises:
            UserError: it cannot be opened, or is not worth searching.
        """
        return run_one(self._opened(order), order.spec, lambda search, step: report(step.step, step.steps))

    def _opened(self, order: RunOrder) -> Experiment:
        key = order.opening
        if self._experiment is not None and self._experiment[0] == key:
            return self._experiment[1]
        if key in self._refused:  # opening it again would only take as long again
            raise UserError(self._refused[key])
        self._experiment = None  # its tensors make room for the next
        try:
            experiment = open_experiment(order.request, parts=self._loaded(order))
        except OutOfMemory:  # there may be room when the next order comes
            raise
        except UserError as error:
            self._refused[key] = str(error)
            raise
        self._experiment = (key, experiment)
        return experiment

    def _loaded(self, order: RunOrder) -> Parts:
        if self._parts is None or self._parts[0] != order.parts:
            self._parts = None
            self._parts = (order.parts, load_parts(order.request, _nobody))
        return self._parts[1]


def _nobody(stage: LoadProgress) -> None:
    """Nobody watches a worker load."""
