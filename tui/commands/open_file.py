"""Opens what a circuit file names, for the commands that work on one. Flags take precedence over its paths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from circuit_tui.tui.commands import progress

if TYPE_CHECKING:
    from circuit_tui.core.circuits.schema import CircuitFile
    from circuit_tui.core.opening.experiment import Experiment
    from circuit_tui.core.opening.open_problem import OpenedProblem
    from circuit_tui.core.opening.request import OpenRequest
    from circuit_tui.core.session.session import Session


def request_for(file: CircuitFile, base: OpenRequest, folder: Path) -> OpenRequest:
    """The request that opens what `file`, which lies in `folder`, names; paths in `base` take precedence.

    Raises:
        UserError: the bundled model has no SAE where the file says it has.
    """
    from circuit_tui.core.opening.open_circuit import request_of

    request = request_of(file, base, folder)
    if base.model is not None:
        request = replace(request, model=base.model)
    if base.sae_dirs:
        request = replace(request, sae_dirs=base.sae_dirs)
    if base.prompts is not None:
        request = replace(request, prompts=base.prompts, task=None)
    return request


def open_file(file: CircuitFile, base: OpenRequest, folder: Path) -> Experiment:
    """Open the experiment that `file`, which lies in `folder`, names; paths in `base` take precedence.

    Raises:
        UserError: something cannot be found or does not fit together.
    """
    progress.say("loading …")
    from circuit_tui.core.opening.experiment import open_experiment

    return open_experiment(request_for(file, base, folder), progress.loading, file)


def open_file_problem(file: CircuitFile, base: OpenRequest, folder: Path) -> OpenedProblem:
    """Open what `open_file` opens, but for the runs over the task's prompts: for commands on a prompt of one's own.

    Raises:
        UserError: something cannot be found or does not fit together.
    """
    progress.say("loading …")
    from circuit_tui.core.opening.open_problem import open_problem

    return open_problem(request_for(file, base, folder), progress.loading, file)


def open_file_session(path: Path, base: OpenRequest) -> Session:
    """Open a session of what the circuit file at `path` names, with its circuit; paths in `base` take precedence.

    Raises:
        UserError: the file is damaged, or something cannot be found or does not fit together.
    """
    from circuit_tui.core.circuits.circuit_file import read_circuit

    file = read_circuit(path)
    experiment = open_file(file, base, path.expanduser().parent)
    from circuit_tui.core.session.session import Session

    session = Session(experiment)
    session.open_circuit(path)
    return session
