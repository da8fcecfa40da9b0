"""The worker of a sweep: it loads model and SAEs once, opens each task once, and runs searches."""

from __future__ import annotations

from circuit_tui.core.errors import OutOfMemory, UserError
from circuit_tui.core.opening.experiment import Experiment, open_experiment
from circuit_tui.core.opening.open_problem import ModelAndSites, load_model_and_sites
from circuit_tui.core.runs.order import RunOrder
from circuit_tui.core.runs.record import RunRecord
from circuit_tui.core.runs.run_one import run_one
from circuit_tui.core.views import LoadProgress
from circuit_tui.core.workers.pool import ReportSteps


class SweepWorker:
    """Runs orders. It keeps the model and the experiment of the last order, and the errors of openings that failed."""

    def __init__(self) -> None:
        self._loaded: tuple[str, ModelAndSites] | None = None
        self._experiment: tuple[str, Experiment] | None = None
        self._failures: dict[str, str] = {}

    def __call__(self, order: RunOrder, report: ReportSteps) -> RunRecord:
        """Runs `order` and returns its record; `report` hears of every step.

        Raises:
            UserError: the experiment cannot be opened, or is not worth searching.
        """
        return run_one(self._open(order), order.spec, lambda search, step: report(step.step, step.steps))

    def _open(self, order: RunOrder) -> Experiment:
        key = order.opening_key
        if self._experiment is not None and self._experiment[0] == key:
            return self._experiment[1]
        if key in self._failures:  # opening it again would fail again after the same wait
            raise UserError(self._failures[key])
        self._experiment = None  # its tensors make room for the next
        try:
            experiment = open_experiment(order.request, loaded=self._load(order))
        except OutOfMemory:  # there may be room when the next order comes
            raise
        except UserError as error:
            self._failures[key] = str(error)
            raise
        self._experiment = (key, experiment)
        return experiment

    def _load(self, order: RunOrder) -> ModelAndSites:
        if self._loaded is None or self._loaded[0] != order.loading_key:
            self._loaded = None
            self._loaded = (order.loading_key, load_model_and_sites(order.request, _ignore))
        return self._loaded[1]


def _ignore(stage: LoadProgress) -> None:
    """Takes the progress of loading, which nobody watches in a worker."""
