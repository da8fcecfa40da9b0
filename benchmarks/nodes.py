"""Nodes of one run of the default search against the published recipe at its best penalty, from comparisons.

    circuit-tui compare --task ioi --methods mask,published --targets 0.95 --lambdas 0.1,0.2,0.4 --out ioi.json
    python benchmarks/nodes.py ioi.json …
    python benchmarks/nodes.py --methods [--medians] ioi.json …

With `--methods`, all methods of the comparisons: the nodes that each needs on held-out prompts for every level, and its
area; medians over seeds, without `--medians` with their ranges. Without it, for each seed: `mask` in its run at the
target, and the smallest circuit of `published` whose held-out faithfulness is at least as close to 1 as that of `mask`,
or at least the target, whichever asks for less. Its λ is thus picked on the held-out prompts, to its advantage. Where
no λ gets there, the run that comes closest stands in the table, marked with an asterisk. The table shows the first
seed; the ratio is the median over seeds, with its range.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from circuit_tui.core.runs.comparison import MethodComparison, TaskComparison, read_comparison
from circuit_tui.core.runs.record import RunRecord
from circuit_tui.core.search.frontier import score

Pick = tuple[RunRecord, RunRecord, bool]


def pick(runs: list[RunRecord], target: float) -> Pick | None:
    """Of one seed's runs: ours, theirs at its best λ, and whether theirs is as good; None without both."""
    ours = [run for run in runs if run.spec.method == "mask" and run.spec.target == target]
    theirs = [run for run in runs if run.spec.method == "published"]
    if not (ours and theirs):
        return None
    wanted = min(score(ours[0].test.faithfulness), target)
    enough = [run for run in theirs if score(run.test.faithfulness) >= wanted]
    if enough:
        return ours[0], min(enough, key=lambda run: run.size), True
    return ours[0], max(theirs, key=lambda run: score(run.test.faithfulness)), False


def row(task: TaskComparison, target: float) -> float | None:
    """Prints one row; returns the median ratio, or None if the two were not both run."""
    seeds = sorted({run.spec.seed for run in task.runs})
    picks = [found for seed in seeds if (found := pick([run for run in task.runs if run.spec.seed == seed], target))]
    if not picks:
        return None
    ours, theirs, comparable = picks[0]
    ratios = [each[0].size / each[1].size for each in picks]
    median = statistics.median(ratios)
    spread = f" ({min(ratios):.2f}–{max(ratios):.2f}, {len(ratios)} seeds)" if len(ratios) > 1 else ""
    print(
        f"| {task.subject.task} | {task.subject.candidates} | {ours.size} → {ours.test.faithfulness:.3f} "
        f"(train {ours.train.faithfulness:.3f}) | {theirs.size}{'' if comparable else '*'} → "
        f"{theirs.test.faithfulness:.3f} (λ {theirs.spec.settings['lambda']:g}) | {median:.2f}{spread} "
        f"| {ours.seconds:.0f} |"
    )
    return median


def print_methods(tasks: list[TaskComparison], *, ranges: bool) -> None:
    """Prints two tables, a row for each task and a column for each method: nodes for each level, then area and seconds.

    A dash stands where a method never gets to a level or was not run. With `ranges` several seeds have theirs beside
    them.
    """
    labels = list(dict.fromkeys(method.label for task in tasks for method in task.methods))
    heading = "| task | " + " | ".join(f"`{label}`" for label in labels) + " |\n|---|" + "---|" * len(labels)
    found = [{method.label: method for method in task.methods} for task in tasks]
    for cell in (nodes_cell, cost_cell):
        print(heading)
        for task, methods in zip(tasks, found, strict=True):
            cells = [cell(methods[label], ranges) if label in methods else "–" for label in labels]
            print(f"| {task.subject.task} | {' | '.join(cells)} |")
        print()


def nodes_cell(method: MethodComparison, ranges: bool) -> str:
    """The nodes that a method needs for each level, lowest level first."""
    return " / ".join(with_range(needed.median, needed.low, needed.high, "g", ranges) for needed in method.needed)


def cost_cell(method: MethodComparison, ranges: bool) -> str:
    """The area of a method and its seconds."""
    area, seconds = method.area, method.seconds
    return f"{with_range(area.median, area.low, area.high, '.3f', ranges)}, {seconds.median:.0f} s"


def with_range(median: float | None, low: float | None, high: float | None, form: str, ranges: bool) -> str:
    """A median, with the range over seeds where there is one and it is asked for."""
    shown = "–" if median is None else format(median, form)
    if low == high or not ranges:
        return shown
    return f"{shown} ({'–' if low is None else format(low, form)} to {'–' if high is None else format(high, form)})"


def main() -> int:
    """Parses the flags, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--methods", action="store_true")
    parser.add_argument("--medians", action="store_true")
    args = parser.parse_args()
    tasks = [task for path in args.files for task in read_comparison(path).tasks]
    if args.methods:
        print_methods(tasks, ranges=not args.medians)
        return 0
    print("| task | candidates | mask: nodes → held-out f | published at its best λ | ratio | mask, s |")
    print("|---|---|---|---|---|---|")
    ratios = [ratio for task in tasks if (ratio := row(task, args.target)) is not None]
    if not ratios:
        parser.error(f"no task with a run of mask at target {args.target:g} and one of published")
    print(f"\nmedian ratio {statistics.median(ratios):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
