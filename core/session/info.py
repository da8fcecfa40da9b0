"""The facts of an open session that screen and command line show."""

from __future__ import annotations

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.opening.warnings import warnings_of
from circuit_tui.core.runtime.machine import device_name
from circuit_tui.core.search.registry import METHODS
from circuit_tui.core.views import Reference, SessionInfo


def session_info(experiment: Experiment) -> SessionInfo:
    """Returns the facts of an experiment, its references and its warnings."""
    problem = experiment.problem
    return SessionInfo(
        model=problem.model.name,
        device=device_name(problem.model.devices),
        dtype=str(problem.model.dtype).removeprefix("torch."),
        task=problem.task.name,
        positions_kind=problem.alignment.kind,
        ablation=problem.ablation,
        errors=problem.errors,
        methods=tuple(METHODS),
        train=_reference(experiment.train),
        test=_reference(experiment.test),
        warnings=warnings_of(experiment),
    )


def _reference(evaluator: Evaluator) -> Reference:
    baselines = evaluator.baselines
    return Reference(
        n_prompts=len(evaluator),
        plain=baselines.summarise(baselines.plain),
        spliced=baselines.summarise(baselines.spliced),
        empty=baselines.summarise(baselines.empty),
    )
