"""Runs searches one after another in an experiment, and estimates how long the rest will take."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.runs.comparison import RefusedMethod
from circuit_tui.core.runs.plan import method_label
from circuit_tui.core.runs.record import RunRecord
from circuit_tui.core.runs.run_one import WatchSearch, run_one
from circuit_tui.core.search.registry import method
from circuit_tui.core.search.spec import SearchSpec


class Series:
    """The runs of `specs` in `experiment`.

    Some methods refuse some tasks, such as pairs of unequal length. The other runs of such a method are left out.

    Attributes:
        done: finished runs and refused methods, in order.
        current: the run under way.
    """

    def __init__(self, experiment: Experiment, specs: Sequence[SearchSpec]) -> None:
        self.experiment, self._left = experiment, list(specs)
        self.done: list[RunRecord | RefusedMethod] = []
        self.current: SearchSpec | None = None

    def __len__(self) -> int:
        """The number of runs that are left, the one under way included."""
        return len(self._left)

    @property
    def name(self) -> str:
        """The run under way in words, ``published · lambda 0.1 · seed 0``."""
        spec = self.current
        if spec is None:
            return ""
        grid = method(spec.method).grid
        value = spec.target if grid == "target" else spec.settings.get(grid)
        grid_value = [] if value is None else [f"{grid} {value:g}"]
        return " · ".join([method_label(spec), *grid_value, f"seed {spec.seed}"])

    def run(self, watch: WatchSearch) -> Iterator[RunRecord | RefusedMethod]:
        """Runs what is left; yields each run or refused method. `watch` may stop a search, which ends the series."""
        while self._left:
            self.current = spec = self._left[0]
            try:
                record: RunRecord | RefusedMethod = run_one(self.experiment, spec, watch)
            except UserError as error:
                record = RefusedMethod(
                    task=self.experiment.problem.task.name, label=method_label(spec), reason=str(error)
                )
                self._left = [other for other in self._left if method_label(other) != method_label(spec)]
            else:
                if isinstance(record, RunRecord) and record.stopped:
                    return
                self._left.pop(0)
            self.done.append(record)
            yield record

    def seconds_left(self, share_done: float) -> float | None:
        """Returns an estimate of the seconds for everything that is left; None before the first run has finished.

        A run takes as long as finished runs of its method on average or, if there are none, of all methods.
        `share_done` 0..1 is the share of the run under way that is over.
        """
        finished = [record for record in self.done if isinstance(record, RunRecord)]
        if not finished or not self._left:
            return None
        overall = statistics.mean(record.seconds for record in finished)
        by_label: dict[str, list[float]] = {}
        for record in finished:
            by_label.setdefault(method_label(record.spec), []).append(record.seconds)
        expected = [statistics.mean(by_label.get(method_label(spec), [overall])) for spec in self._left]
        return sum(expected) - expected[0] * share_done
