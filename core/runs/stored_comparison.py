"""Reads a stored comparison, or makes one of the runs of a sweep."""

from __future__ import annotations

from pathlib import Path

from circuit_tui.core.runs.comparison import Comparison, RefusedMethod, read_comparison
from circuit_tui.core.runs.plan import method_label
from circuit_tui.core.runs.results_file import is_results_file, read_failures, read_records


def read_stored_comparison(path: Path) -> Comparison:
    """Returns the comparison at `path`, or the comparison of the runs in a results file, whose failed runs are refused.

    Raises:
        UserError: the file is missing, neither of the two, of another version, or damaged.
    """
    if not is_results_file(path):
        return read_comparison(path)
    failures = [
        RefusedMethod(task=task, label=method_label(spec), reason=error) for task, spec, error in read_failures(path)
    ]
    return Comparison.of(read_records(path), dict.fromkeys(failures), complete=not failures)
