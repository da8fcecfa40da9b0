"""Nodes of one run of the default search against the published recipe at its best penalty, from comparisons.

    circuit-tui compare --task ioi --methods mask,published --targets 0.95 --lambdas 0.1,0.2,0.4 --out ioi.json
    python benchmarks/nodes.py ioi.json …
    python benchmarks/nodes.py --methods ioi.json …

With `--methods`, all methods of the comparisons: the nodes that each needs on held-out prompts for every level, and its
area. Without it, for each seed: `mask` in its run at the target, and the smallest circuit of `published` whose held-out
faithfulness is at least as close to 1 as that of `mask`, or at least the target, whichever asks for less. Its λ is thus
picked on the held-out prompts, to its advantage. Where no λ gets there, the run that comes closest stands in the table,
marked with an asterisk. The table shows the first seed; the ratio is the median over seeds, with its range.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from circuit_tui.core.runs.comparison import TaskPart, read_comparison
from circuit_tui.core.runs.frontier import score
from circuit_tui.core.runs.record import RunRecord

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


def row(task: TaskPart, target: float) -> float | None:
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


def print_methods(tasks: list[TaskPart]) -> None:
    """Prints a line for each task and method: nodes for each level, a dash where it never gets there, and the area."""
    levels = [needed.level for needed in tasks[0].methods[0].needed]
    print("| task | method |" + "".join(f" n({level:g}) |" for level in levels) + " area | s |")
    print("|---|---|" + "--:|" * (len(levels) + 2))
    for task in tasks:
        for method in task.methods:
            cells = ["–" if needed.median is None else f"{needed.median:g}" for needed in method.needed]
            print(
                f"| {task.subject.task} | `{method.label}` | {' | '.join(cells)} "
                f"| {method.area.median:.3f} | {method.seconds.median:.0f} |"
            )


def main() -> int:
    """Parses the flags, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--methods", action="store_true")
    args = parser.parse_args()
    tasks = [task for path in args.files for task in read_comparison(path).tasks]
    if args.methods:
        print_methods(tasks)
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
