"""Runs that were done earlier, by a comparison or by a sweep."""

from __future__ import annotations

from pathlib import Path

from circuit_tui.core.runs.comparison import Comparison, Refusal, read_comparison
from circuit_tui.core.runs.plan import label
from circuit_tui.core.runs.results_file import is_results_file, read_failures, read_records


def read_earlier(path: Path) -> Comparison:
    """The comparison at `path`, or what follows from the runs of a results file; its failed runs count as refused.

    Raises:
        UserError: missing, neither of the two, of another version, or damaged.
    """
    if not is_results_file(path):
        return read_comparison(path)
    failures = [Refusal(task=task, label=label(spec), reason=error) for task, spec, error in read_failures(path)]
    return Comparison.of(read_records(path), dict.fromkeys(failures), complete=not failures)
