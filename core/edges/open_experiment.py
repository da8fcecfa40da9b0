"""Opens an experiment for edges: in float32, whatever the dtype of the circuit file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.errors import OutOfMemory, UserError
from circuit_tui.core.opening.experiment import Experiment, open_experiment
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.views import LoadProgress


def open_float32(
    request: OpenRequest,
    progress: Callable[[LoadProgress], None] = lambda stage: None,
    circuit: CircuitFile | None = None,
) -> Experiment:
    """Opens the experiment of `request` with the model in float32; arguments as in `open_experiment`.

    Raises:
        UserError: as `open_experiment`, or there is no memory for float32.
    """
    try:
        return open_experiment(replace(request, dtype="float32"), progress, circuit)
    except OutOfMemory as error:
        if request.dtype in (None, "float32"):
            raise
        raise UserError(
            f"edges need the model in float32, and there is no memory for it ({request.dtype} was given): {error}"
        ) from error
