"""What workers build for an order of a sweep or an audit: an `Experiment`, in turn with the `Session` they once built.

    python benchmarks/worker_cost.py [--task sva-rc] [--rounds 5] [--json FILE]

Model, SAEs and prompts are opened once; timed is what is built on the opened problem, in one process, one of each in a
round. The ratio is of medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.opening.open_problem import open_problem
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.session.session import Session


def seconds(build: Callable[[], object]) -> float:
    """Seconds that `build` takes."""
    begun = time.perf_counter()
    build()
    return time.perf_counter() - begun


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="sva-rc")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    opened = open_problem(OpenRequest(task=args.task), lambda stage: None)
    builds: dict[str, Callable[[], object]] = {
        "session": lambda: Session(Experiment.of(opened)),
        "experiment": lambda: Experiment.of(opened),
    }
    taken: dict[str, list[float]] = {name: [] for name in builds}
    for _ in range(args.rounds):
        for name, build in builds.items():
            taken[name].append(seconds(build))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    print("| built for an order | seconds, median | range |\n|---|--:|--:|")
    for name, values in taken.items():
        print(f"| {name} | {medians[name]:.3f} | {min(values):.3f}–{max(values):.3f} |")
    print(f"\nA session takes {medians['session'] / medians['experiment']:.1f} times as long as an experiment.")
    if args.json is not None:
        args.json.write_text(json.dumps({"task": args.task, "rounds": args.rounds, "seconds": taken}) + "\n")


if __name__ == "__main__":
    main()
