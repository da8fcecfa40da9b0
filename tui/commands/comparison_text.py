"""A comparison as readable tables."""

from __future__ import annotations

from circuit_tui.core.runs.comparison import Comparison, MethodComparison, NodesNeeded, SeedRange, TaskComparison
from circuit_tui.tui.commands.output import number, print_line, print_table, width

WIDE = 110
"""From this many columns on, a range stands beside its median rather than below it, and the runs are counted."""


def print_comparison(comparison: Comparison) -> None:
    """Print one table for each task, then what was left out, then how to read the tables."""
    for task in comparison.tasks:
        _print_task(task, wide=width() >= WIDE)
        print_line()
    for refusal in comparison.refused:
        print_line(f"{refusal.task}: {refusal.label} left out: {refusal.reason}", style="yellow")
    if comparison.tasks:
        for line in (
            "n(x): nodes needed for a held-out faithfulness f with |1 − f| at most 1 − x, on",
            "the frontier that the search prompts choose. Medians over seeds, with smallest",
            "and largest; – where half the seeds or more never reach it.",
            "area: mean held-out |1 − f| over log size. s, steps: all runs of one seed.",
        ):
            print_line(line)
    else:
        print_line("no run has finished")


def _print_task(task: TaskComparison, *, wide: bool) -> None:
    subject = task.subject
    print_line(f"{subject.task} · {subject.model} · {subject.candidates} candidates", style="bold")
    print_line(
        f"{subject.n_train} search and {subject.n_test} held-out prompts · ablation {subject.ablation.kind}, "
        f"errors {subject.ablation.errors}"
    )
    levels = [f"n({needed.level:g})" for needed in task.methods[0].needed]
    columns = ["method", *levels, "area", "s", "steps", *(["seeds", "runs"] if wide else [])]
    rows = [
        (
            method.label,
            *(_needed(needed, wide=wide) for needed in method.needed),
            _area(method.area, wide=wide),
            number(method.seconds.median, 0),
            number(method.steps.median, 0),
            *((str(len(method.seeds)), _runs(method)) if wide else ()),
        )
        for method in task.methods
    ]
    print_table(columns, rows, right=columns[1:])


def _needed(needed: NodesNeeded, *, wide: bool) -> str:
    if not needed.reached:
        return "–"
    middle = "–" if needed.median is None else f"{needed.median:g}"
    if needed.low == needed.high:
        return middle
    return _range(middle, f"{needed.low}–{'' if needed.high is None else needed.high}", wide=wide)


def _area(spread: SeedRange, *, wide: bool) -> str:
    middle = number(spread.median)
    if spread.low == spread.high or not wide:
        return middle
    return _range(middle, f"{number(spread.low)}–{number(spread.high)}", wide=wide)


def _range(middle: str, ends: str, *, wide: bool) -> str:
    return f"{middle} ({ends})" if wide else f"{middle}\n{ends}"


def _runs(method: MethodComparison) -> str:
    return "+".join(str(seed.runs) for seed in method.seeds)
