"""The warnings that a reader of an experiment's numbers should see before any search, as whole sentences."""

from __future__ import annotations

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.attention_sinks import sink_warnings
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.opening.splice_offers import WORTH_A_WARNING
from circuit_tui.core.search.open_search import check_worth_searching
from circuit_tui.core.splice.ablation import positions_without_mean


def warnings_of(experiment: Experiment) -> tuple[str, ...]:
    """Returns the notes of the opening, then warnings if the task, the splice or a reference is in doubt."""
    problem, test = experiment.problem, experiment.test
    warnings = list(experiment.opened.notes)
    try:
        check_worth_searching(problem, experiment.train)
    except UserError as error:
        warnings.append(f"{error}.")
    spliced = test.baselines.summarise(test.baselines.spliced).faithfulness
    if abs(1 - spliced) > WORTH_A_WARNING:
        warnings.append(
            f"The splice alone moves faithfulness to {spliced:.3f} with every latent kept: read a circuit's numbers "
            "against M_s too, splice in fewer sites (--sites), or keep the SAE errors (--errors keep)."
        )
    positions = positions_without_mean(problem.alignment, problem.ablation)
    if positions:
        side = "clean" if problem.ablation == "clean-mean" else "corrupt"
        warnings.append(
            f"No {side} train prompt has a token where some prompts have one, at {', '.join(positions)}: there is no "
            "mean to ablate to there, it is 0."
        )
    return (*warnings, *sink_warnings(problem))
