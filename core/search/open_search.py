"""Starts a search by name, after making sure that there is something to find."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.registry import Value, method
from circuit_tui.core.search.search import Search, SearchInput
from circuit_tui.core.splice.problem import Problem

MIN_ACCURACY = 0.6
MIN_GAP = 0.1
MIN_SPLICED = 0.5


def open_search(
    problem: Problem,
    train: Evaluator,
    test: Evaluator,
    name: str,
    target: float,
    seed: int,
    settings: Mapping[str, Value],
) -> Search:
    """A search of the method `name`, not yet begun.

    Raises:
        UserError: see `check_worth_searching` and `new_search`.
    """
    search = new_search(problem, train, test, name, target, seed, settings)
    check_worth_searching(problem, train)
    return search


def new_search(
    problem: Problem,
    train: Evaluator,
    test: Evaluator,
    name: str,
    target: float,
    seed: int,
    settings: Mapping[str, Value],
    *,
    circuit_only: bool = False,
) -> Search:
    """The same, whether there is anything to find or not: a control searches where there should be nothing.

    `circuit_only` is that of `SearchInput`.

    Raises:
        UserError: unknown method or setting, or a target or seed out of range.
    """
    chosen = method(name)
    if not 0 < target < 1:
        raise UserError(f"--target {target:g}: must lie between 0 and 1")
    if not 0 <= seed < 2**63:
        raise UserError(f"--seed {seed}: must lie between 0 and 2^63 - 1")
    resolved = chosen.resolve(settings)
    module, class_name = chosen.implementation.split(":")
    implementation: type[Search] = getattr(import_module(f"circuit_tui.core.search.methods.{module}"), class_name)
    return implementation(SearchInput(problem, train, test, target, seed, resolved, circuit_only))


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
