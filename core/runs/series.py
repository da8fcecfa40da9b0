"""Runs one after another in an experiment, and how long the rest will take."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.runs.comparison import Refusal
from circuit_tui.core.runs.plan import label
from circuit_tui.core.runs.record import RunRecord
from circuit_tui.core.runs.run_one import Watch, run_one
from circuit_tui.core.search.registry import method
from circuit_tui.core.search.spec import SearchSpec


class Series:
    """The runs of `specs` in `experiment`.

    A method that refuses the task, as some do for pairs of unequal length, is left out from then on, with its reason.

    Attributes:
        done: finished runs and refusals, in order.
        current: the run under way.
    """

    def __init__(self, experiment: Experiment, specs: Sequence[SearchSpec]) -> None:
        self.experiment, self._left = experiment, list(specs)
        self.done: list[RunRecord | Refusal] = []
        self.current: SearchSpec | None = None

    def __len__(self) -> int:
        """How many runs are left, the one under way included."""
        return len(self._left)

    @property
    def name(self) -> str:
        """The run under way in words, ``published · lambda 0.1 · seed 0``."""
        spec = self.current
        if spec is None:
            return ""
        grid = method(spec.method).grid
        value = spec.target if grid == "target" else spec.settings.get(grid)
        moved = [] if value is None else [f"{grid} {value:g}"]
        return " · ".join([label(spec), *moved, f"seed {spec.seed}"])

    def run(self, watch: Watch) -> Iterator[RunRecord | Refusal]:
        """Runs what is left; each run or refusal as it is done. `watch` may stop a search, which ends the series."""
        while self._left:
            self.current = spec = self._left[0]
            try:
                record: RunRecord | Refusal = run_one(self.experiment, spec, watch)
            except UserError as error:
                record = Refusal(task=self.experiment.problem.task.name, label=label(spec), reason=str(error))
                self._left = [other for other in self._left if label(other) != label(spec)]
            else:
                if isinstance(record, RunRecord) and record.stopped:
                    return
                self._left.pop(0)
            self.done.append(record)
            yield record

    def seconds_left(self, share_done: float) -> float | None:
        """Estimate for all that is left, from the finished runs of the same method or, without any, of all methods.

        `share_done` in 0..1 is how much of the run under way is over. None before the first run has finished.
        """
        finished = [record for record in self.done if isinstance(record, RunRecord)]
        if not finished or not self._left:
            return None
        overall = statistics.mean(record.seconds for record in finished)
        by_label: dict[str, list[float]] = {}
        for record in finished:
            by_label.setdefault(label(record.spec), []).append(record.seconds)
        expected = [statistics.mean(by_label.get(label(spec), [overall])) for spec in self._left]
        return sum(expected) - expected[0] * share_done
