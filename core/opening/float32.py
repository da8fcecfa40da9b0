"""Opens an experiment in float32, whatever the dtype of the circuit file: for what is lost in half precision."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.errors import OutOfMemory, UserError
from circuit_tui.core.opening.experiment import Experiment, open_experiment
from circuit_tui.core.opening.open_problem import OpenedProblem, open_problem
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.views import LoadProgress


def open_float32(
    request: OpenRequest,
    progress: Callable[[LoadProgress], None] = lambda stage: None,
    circuit: CircuitFile | None = None,
) -> Experiment:
    """Opens the experiment of `request` with the model in float32, for edges; arguments as in `open_experiment`.

    Raises:
        UserError: as `open_experiment`, or there is no memory for float32.
    """
    with _explained(request, "edges"):
        return open_experiment(replace(request, dtype="float32"), progress, circuit)


def open_problem_float32(
    request: OpenRequest, progress: Callable[[LoadProgress], None], circuit: CircuitFile | None = None
) -> OpenedProblem:
    """Opens the problem of `request` with the model in float32, for attribution; arguments as in `open_problem`.

    Raises:
        UserError: as `open_problem`, or there is no memory for float32.
    """
    with _explained(request, "attributions"):
        return open_problem(replace(request, dtype="float32"), progress, circuit)


@contextlib.contextmanager
def _explained(request: OpenRequest, what: str) -> Iterator[None]:
    """Says why the model was opened in float32 if there is no memory for it and `request` asked for less."""
    try:
        yield
    except OutOfMemory as error:
        if request.dtype in (None, "float32"):
            raise
        raise UserError(
            f"{what} need the model in float32, and there is no memory for it ({request.dtype} was given): {error}"
        ) from error
