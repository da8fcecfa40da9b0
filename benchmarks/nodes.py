"""Nodes that the default search needs, against the published recipe over a sweep of its penalty.

    python benchmarks/nodes.py [--tasks a,b] [--model DIR --sae-dir DIR … --prompts FILE …]
                               [--seed 0] [--lambdas 0.1 0.2 …] [--json FILE]

`mask` runs once at the default target. `published` runs once for each λ; its best λ is the one with the fewest nodes
among those whose held-out faithfulness is at least as close to 1 as that of `mask`, or at least 0.95, whichever asks
for less. Where no λ gets there, the run that comes closest stands in the table, marked with an asterisk. Everything is
held out: sizes are compared at test faithfulness against M.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit_tui.core import tasks
from circuit_tui.core.request import OpenRequest
from circuit_tui.core.session import Session, open_session

LAMBDAS = (0.1, 0.2, 0.4, 0.8, 1.6, 2.4)


@dataclass(frozen=True)
class Run:
    """One search: size, faithfulness against M on both splits, wall seconds, and λ where it has one."""

    size: int
    train: float
    test: float
    seconds: float
    setting: float | None = None

    @property
    def score(self) -> float:
        """1 - |1 - f| on held-out prompts."""
        return 1 - abs(1 - self.test)


def search(session: Session, method: str, seed: int, **settings: float) -> Run:
    """Runs one search to its end."""
    start = time.monotonic()
    running = session.search(method, 0.95, seed, settings)
    for _ in running:
        pass
    result = running.result
    assert result is not None
    seconds = time.monotonic() - start
    return Run(len(result.nodes), result.train.faithfulness, result.test.faithfulness, seconds, settings.get("lambda"))


def compare(session: Session, seed: int, lambdas: list[float]) -> dict[str, Any]:
    """Both methods on one task; prints a row of the table and returns it with the whole sweep."""
    ours = search(session, "mask", seed)
    sweep = [search(session, "published", seed, **{"lambda": value}) for value in lambdas]
    wanted = min(ours.score, 0.95)
    enough = [run for run in sweep if run.score >= wanted]
    best = min(enough, key=lambda run: run.size) if enough else max(sweep, key=lambda run: run.score)
    row = {
        "task": session.info.task, "candidates": len(session.table), "mask": vars(ours), "published": vars(best),
        "ratio": ours.size / best.size, "comparable": bool(enough), "sweep": [vars(run) for run in sweep],
    }  # fmt: skip
    mark = "" if enough else "*"
    print(
        f"| {row['task']} | {row['candidates']} | {ours.size} → {ours.test:.3f} (train {ours.train:.3f}) | "
        f"{best.size}{mark} → {best.test:.3f} (λ {best.setting:g}) | {row['ratio']:.2f} | {ours.seconds:.0f} |",
        flush=True,
    )
    return row


def main() -> int:
    """Parses the flags, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(tasks.names()))
    parser.add_argument("--model")
    parser.add_argument("--sae-dir", action="append", type=Path, default=[])
    parser.add_argument("--prompts", action="append", type=Path, default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lambdas", type=float, nargs="+", default=LAMBDAS)
    parser.add_argument("--json")
    args = parser.parse_args()
    requests = [OpenRequest(model=args.model, sae_dirs=tuple(args.sae_dir), prompts=path) for path in args.prompts] or [
        OpenRequest(task=name) for name in args.tasks.split(",")
    ]
    print("| task | candidates | mask: nodes → held-out f | published at its best λ | ratio | mask, s |")
    print("|---|---|---|---|---|---|")
    rows = [compare(open_session(request), args.seed, args.lambdas) for request in requests]
    ratios = sorted(row["ratio"] for row in rows)
    print(f"\nmedian ratio {ratios[len(ratios) // 2]:.2f}")
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
