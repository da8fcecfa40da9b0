"""Starts a search by name, after making sure that there is something to find."""

from __future__ import annotations

from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem

MIN_ACCURACY = 0.6
MIN_GAP = 0.1
MIN_SPLICED = 0.5


def open_search(problem: Problem, train: Evaluator, test: Evaluator, spec: SearchSpec) -> Search:
    """A search by `spec`, not yet begun.

    Raises:
        UserError: an unknown method or setting, a wrong value, or nothing to find (`check_worth_searching`).
    """
    search = new_search(problem, train, test, spec)
    check_worth_searching(problem, train)
    return search


def new_search(
    problem: Problem, train: Evaluator, test: Evaluator, spec: SearchSpec, *, circuit_only: bool = False
) -> Search:
    """A search by `spec` whether there is anything to find or not: a control searches where there should be nothing.

    With `circuit_only` the result is the circuit alone: no frontier on the test prompts, no completeness.

    Raises:
        UserError: an unknown method or setting, or a wrong value.
    """
    return Search(problem, train, test, spec, circuit_only=circuit_only)


def check_worth_searching(problem: Problem, train: Evaluator) -> None:
    """Refuses a task the model cannot do, or one that the splice alone destroys, with the numbers and what would help.

    Raises:
        UserError: accuracy below `MIN_ACCURACY`, no gap between M and the empty circuit, or M_s below `MIN_SPLICED`.
    """
    baselines = train.baselines
    plain = baselines.summarise(baselines.plain)
    empty = baselines.empty.mean_logit_diff
    if plain.accuracy < MIN_ACCURACY:
        raise UserError(
            f"task {problem.task.name}: the model cannot do it: accuracy {plain.accuracy:.0%}, logit difference "
            f"{plain.logit_diff:.2f} on {len(problem.splits['train'])} train prompts; try another task or model"
        )
    if plain.logit_diff - empty < MIN_GAP:
        raise UserError(
            f"task {problem.task.name}: ablating every node leaves a logit difference of {empty:.2f} of the model's "
            f"{plain.logit_diff:.2f}: nothing at these sites to find; try later sites or another ablation"
        )
    spliced = baselines.summarise(baselines.spliced)
    if spliced.faithfulness < MIN_SPLICED:
        raise UserError(
            f"task {problem.task.name}: splicing in the SAEs alone destroys the behaviour: logit difference "
            f"{spliced.logit_diff:.2f} against {plain.logit_diff:.2f} (faithfulness {spliced.faithfulness:.2f} with "
            "every latent kept); try fewer or other sites, or --errors keep"
        )
