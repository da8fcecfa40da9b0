"""The runs of ``circuit-tui compare``: takes those that are known, does the others, and writes after each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.tui.commands import progress
from circuit_tui.tui.commands.runs_progress import RunsBar

if TYPE_CHECKING:
    from circuit_tui.core.opening.identity import Identity
    from circuit_tui.core.runs.comparison import Comparison, RefusedMethod
    from circuit_tui.core.runs.plan import GridValues, MethodVariant
    from circuit_tui.core.runs.record import RunRecord
    from circuit_tui.core.search.search import Search
    from circuit_tui.core.search.spec import SearchSpec
    from circuit_tui.core.views import SearchProgress


class ComparisonRun:
    """Does the runs of a comparison task by task, and keeps what is known so far."""

    def __init__(
        self, chosen: Sequence[MethodVariant], grids: GridValues, seeds: Sequence[int], out: Path | None
    ) -> None:
        self.stopped = False
        self._chosen, self._grids, self._seeds, self._out = chosen, grids, seeds, out
        self._records: dict[tuple[Identity, str], RunRecord] = {}
        self._refused: list[RefusedMethod] = []
        self._complete = True

    def add_earlier(self, path: Path) -> None:
        """Take the runs of a comparison or a sweep, and what was refused there. Of equal runs the first is kept.

        Raises:
            UserError: the file is missing, neither a comparison nor a sweep, or damaged.
        """
        from circuit_tui.core.runs.stored_comparison import read_stored_comparison

        read = read_stored_comparison(path)
        self._complete = self._complete and read.complete
        self._add(read.records)
        self._refused += [refusal for refusal in read.refused if refusal not in self._refused]

    def continue_from(self, path: Path, *, force: bool) -> None:
        """Take the runs in the existing file `path`, which will be overwritten. Refusals there are found again.

        Raises:
            UserError: the file is damaged or of another version, and would be lost; with `force` it is replaced.
        """
        from circuit_tui.core.runs.comparison import read_comparison

        try:
            records = read_comparison(path).records
        except UserError as error:
            if force:
                progress.say(f"{path} will be replaced: it cannot be read")
                return
            raise UserError(f"--out {error}; name another file, or replace it with --force") from error
        progress.say(f"{path}: continuing with its {len(records)} runs")
        self._add(records)

    def _add(self, records: Iterable[RunRecord]) -> None:
        for record in records:
            self._records.setdefault(_key(record.subject, record.spec), record)

    def stop(self) -> None:
        """End the work after the finished runs."""
        self.stopped = True

    def comparison(self, *, under_way: bool = False) -> Comparison:
        """The comparison that follows from the runs so far; `under_way` marks it as incomplete."""
        from circuit_tui.core.runs.comparison import Comparison

        return Comparison.of(
            self._records.values(), self._refused, complete=self._complete and not self.stopped and not under_way
        )

    def write(self, path: Path, *, under_way: bool = False) -> Path:
        """Write the comparison that follows from the runs so far."""
        from circuit_tui.core.runs.comparison import write_comparison

        return write_comparison(self.comparison(under_way=under_way), path)

    def refuse_task(self, request: OpenRequest, error: UserError) -> None:
        """Note that nothing can be compared on a task."""
        from circuit_tui.core.runs.comparison import RefusedMethod

        name = request.task or (request.prompts.stem if request.prompts else "the task")
        self._refused.append(RefusedMethod(task=name, label="every method", reason=str(error)))
        progress.say(f"{name} left out: {error}")

    def task(self, request: OpenRequest, where: str) -> None:
        """Do all runs on one task that are not known yet.

        Raises:
            UserError: the task cannot be opened.
        """
        if self.stopped:
            return
        progress.say(f"{where}loading …")
        from circuit_tui.core.opening.experiment import open_experiment
        from circuit_tui.core.opening.identity import identity_of
        from circuit_tui.core.opening.warnings import warnings_of
        from circuit_tui.core.runs.comparison import RefusedMethod
        from circuit_tui.core.runs.plan import plan_runs
        from circuit_tui.core.runs.series import Series

        experiment = open_experiment(request, progress.loading)
        for warning in warnings_of(experiment):
            progress.say(f"warning: {warning}")
        subject = identity_of(experiment)
        specs = plan_runs(self._chosen, self._grids, self._seeds, subject.candidates)
        series = Series(experiment, [spec for spec in specs if not self._has(subject, spec)])
        total = len(series)
        with RunsBar(f"{where}{subject.task}", total) as bar:

            def watch(search: Search, step: SearchProgress) -> None:
                if self.stopped:
                    search.stop()
                share = min(1.0, step.step / max(1, step.steps))
                bar.show(series.name, total - len(series) + share, series.seconds_left(share))

            for record in series.run(watch):
                if isinstance(record, RefusedMethod):
                    if record not in self._refused:
                        self._refused.append(record)
                    progress.say(f"{record.label} left out: {record.reason}")
                else:
                    self._add([record])
                    if self._out is not None:
                        self.write(self._out, under_way=True)

    def _has(self, subject: Identity, spec: SearchSpec) -> bool:
        """Whether the run is known; version 0.1 wrote runs without the hash of their token ids."""
        return any(_key(each, spec) in self._records for each in (subject, subject.without_tokens))


def _key(subject: Identity, spec: SearchSpec) -> tuple[Identity, str]:
    """The key that tells one run from another."""
    return subject.comparable, json.dumps(spec.data(), sort_keys=True)
