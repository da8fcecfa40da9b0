"""A comparison as tables for a person."""

from __future__ import annotations

from circuit_tui.core.runs.comparison import Comparison, MethodPart, Needed, Spread, TaskPart
from circuit_tui.tui.commands.output import number, print_line, print_table


def print_comparison(comparison: Comparison) -> None:
    """One table for each task, then what was left out."""
    for task in comparison.tasks:
        _print_task(task)
        print_line()
    for refusal in comparison.refused:
        print_line(f"{refusal.task}: {refusal.label} left out: {refusal.reason}", style="yellow")
    if comparison.tasks:
        print_line(
            "Nodes for a held-out faithfulness f of at least the level, |1 − f| counted both ways; circuits chosen on "
            "the search prompts. Medians over seeds, smallest to largest in brackets; – where half the seeds or more "
            "never get there. Area: mean held-out |1 − f| over log size. Seconds and steps: one seed's runs together."
        )
    else:
        print_line("no run was finished")


def _print_task(task: TaskPart) -> None:
    subject = task.subject
    print_line(
        f"{subject.task} · {subject.model} · {subject.candidates} candidates · {subject.n_train} search and "
        f"{subject.n_test} held-out prompts · ablation {subject.ablation.kind}, errors {subject.ablation.errors}",
        style="bold",
    )
    levels = [f"nodes {needed.level:g}" for needed in task.methods[0].needed]
    columns = ("method", *levels, "area", "seconds", "steps", "seeds", "runs")
    rows = [
        (
            method.label,
            *map(_needed, method.needed),
            _spread(method.area, 3),
            number(method.seconds.median, 0),
            number(method.steps.median, 0),
            str(len(method.seeds)),
            _runs(method),
        )
        for method in task.methods
    ]
    print_table(columns, rows, right=columns[1:])


def _needed(needed: Needed) -> str:
    if needed.median is None:
        return f"– ({needed.reached} reach)" if needed.reached else "–"
    if needed.low == needed.high:
        return f"{needed.median:g}"
    return f"{needed.median:g} ({needed.low}–{'' if needed.high is None else needed.high})"


def _spread(spread: Spread, digits: int) -> str:
    middle = number(spread.median, digits)
    if spread.low == spread.high:
        return middle
    return f"{middle} ({number(spread.low, digits)}–{number(spread.high, digits)})"


def _runs(method: MethodPart) -> str:
    return "+".join(str(seed.runs) for seed in method.seeds)
