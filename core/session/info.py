"""The facts of an open session that the screen and the command line show."""

from __future__ import annotations

from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.runtime.machine import device_name
from circuit_tui.core.search.open_search import check_worth_searching
from circuit_tui.core.search.registry import METHODS
from circuit_tui.core.splice.ablation import positions_without_mean
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.views import Reference, SessionInfo

SPLICE_COST_WORTH_A_WARNING = 0.1


def session_info(problem: Problem, train: Evaluator, test: Evaluator, notes: tuple[str, ...] = ()) -> SessionInfo:
    """Facts and references of `problem`; warnings where the task or the splice is in doubt, `notes` before them."""
    return SessionInfo(
        model=problem.model.name,
        device=device_name(problem.model.devices),
        dtype=str(problem.model.dtype).removeprefix("torch."),
        task=problem.task.name,
        positions_kind=problem.alignment.kind,
        ablation=problem.ablation,
        errors=problem.errors,
        methods=tuple(METHODS),
        train=_reference(train),
        test=_reference(test),
        warnings=(*notes, *_warnings(problem, train, test)),
    )


def _reference(evaluator: Evaluator) -> Reference:
    baselines = evaluator.baselines
    return Reference(
        n_prompts=len(baselines.plain.logit_diff),
        plain=baselines.summarise(baselines.plain),
        spliced=baselines.summarise(baselines.spliced),
        empty=baselines.summarise(baselines.empty),
    )


def _warnings(problem: Problem, train: Evaluator, test: Evaluator) -> tuple[str, ...]:
    warnings = []
    try:
        check_worth_searching(problem, train)
    except UserError as error:
        warnings.append(f"{error}.")
    spliced = test.baselines.summarise(test.baselines.spliced).faithfulness
    if abs(1 - spliced) > SPLICE_COST_WORTH_A_WARNING:
        warnings.append(
            f"The splice alone moves faithfulness to {spliced:.3f} with every latent kept: read a circuit's numbers "
            "against M_s too, or keep the SAE errors (--errors keep)."
        )
    positions = positions_without_mean(problem.alignment, problem.ablation)
    if positions:
        side = "clean" if problem.ablation == "clean-mean" else "corrupt"
        warnings.append(
            f"No {side} train prompt has a token where some prompts have one, at {', '.join(positions)}: there is no "
            "mean to ablate to there, it is 0."
        )
    return tuple(warnings)
