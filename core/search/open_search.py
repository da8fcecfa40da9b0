"""Makes a search after checking that there is something to find."""

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
    """A search that has not begun. A control, which searches where there should be nothing, makes a `Search` itself.

    Raises:
        UserError: an unknown method or setting, a wrong value, or nothing to find (`check_worth_searching`).
    """
    search = Search(problem, train, test, spec)
    check_worth_searching(problem, train)
    return search


def check_worth_searching(problem: Problem, train: Evaluator) -> None:
    """Refuses a task that the model cannot do or that the splice alone destroys; says the numbers and what would help.

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
            f"{_spaceless_answers(problem)}"
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


def _spaceless_answers(problem: Problem) -> str:
    """A hint where answers are words without a space in front, which continue the last word for most tokenizers."""
    pairs = problem.task.pairs
    joined = all(pair.answer[:1].isalpha() and pair.clean[-1:].isalnum() for pair in pairs)
    return (
        f"; its answers begin without a space: {pairs[0].answer!r} may have to be {(' ' + pairs[0].answer)!r}"
        if joined
        else ""
    )
