"""How many edges circuits need, and what edges cost.

    python benchmarks/edges.py FILE.json [FILE.json …] [--target 0.95] [--no-metric] [--json FILE]

For each circuit file: nodes and possible edges; seconds for all exact edges with their head parts, for the effects on
the metric of the 20 strongest and of all, for the elimination and for switching one edge; and the edges that hold the
target on the search prompts, with their held-out faithfulness. Seconds are wall time, CPU seconds stand in brackets.
Where the file's task has a bound, it stands below; exits 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.edges.agreement import agreement
from circuit_tui.core.edges.edge_table import CircuitEdges
from circuit_tui.core.edges.eliminate import EdgeSearch, eliminate_edges
from circuit_tui.core.opening.float32 import open_float32
from circuit_tui.core.opening.open_circuit import open_circuit, request_of
from circuit_tui.core.opening.request import OpenRequest

SHOWN = 20
BOUNDS: dict[str, dict[str, float]] = {
    "sva-rc": {"edges": 1, "elimination": 10},
    "ioi": {"edges and shown": 5, "all metric": 60, "elimination": 120},
    "smollm2-ioi": {"edges and shown": 60},
}
"""For circuits of these tasks how many seconds each piece of work may take on two free cores."""


def timed(seconds: dict[str, tuple[float, float]], name: str, work: Callable[[], Any]) -> Any:
    """Runs `work` and notes its wall and CPU seconds under `name`."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    seconds[name] = time.perf_counter() - wall, time.process_time() - cpu
    return result


def measure(path: Path, target: float, *, metric: bool) -> dict[str, Any]:
    """All numbers of one circuit file."""
    file = read_circuit(path)
    experiment = open_float32(request_of(file, OpenRequest(), path.parent), circuit=file)
    kept = open_circuit(path, experiment.opened).kept
    seconds: dict[str, tuple[float, float]] = {}
    edges = timed(seconds, "opening", lambda: CircuitEdges(experiment.test, kept))
    view = timed(seconds, "edges", lambda: edges.compute().result())
    pairs = [(edge.source, edge.target) for edge in view.strongest()]
    timed(seconds, "shown", lambda: edges.compute_metric(pairs[:SHOWN]).result())
    if metric:
        timed(seconds, "all metric", lambda: edges.compute_metric(pairs).result())
    timed(seconds, "switch", lambda: edges.switch(*pairs[len(pairs) // 2]).result())
    search: EdgeSearch = timed(
        seconds, "elimination", lambda: eliminate_edges(experiment.train, experiment.test, kept, target).result()
    )
    return {
        "task": file.task.name,
        "nodes": file.size,
        "possible": search.n_possible,
        "nodes_train": search.nodes_train,
        "nodes_test": search.nodes_test,
        "target": target,
        "reached": search.reached,
        "edges": int(search.kept.sum()),
        "train": search.train,
        "test": search.test,
        "unconnected": search.unconnected_test,
        "rank_correlation": agreement(edges.view).frozen,
        "metric_correlation": agreement(edges.view).metric if metric else None,
        "frontier": [(point.size, point.train, point.test) for point in search.frontier],
        "seconds": seconds,
    }


def print_bounds(row: dict[str, Any]) -> bool:
    """Prints the seconds of a row beside their bounds; returns whether one is missed."""
    seconds = {name: wall for name, (wall, _) in row["seconds"].items()}
    seconds["edges and shown"] = seconds["edges"] + seconds["shown"]
    bounds = {name: bound for name, bound in BOUNDS.get(row["task"], {}).items() if name in seconds}
    for name, bound in bounds.items():
        word = "held" if seconds[name] <= bound else "MISSED"
        print(f"  {name}: {seconds[name]:.2f} s, bound {bound:g} s, {word}")
    return any(seconds[name] > bound for name, bound in bounds.items())


def main() -> None:
    """Prints a line for each file as it is done; exits 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--no-metric", action="store_true", help="leave out the effects of all edges on the metric")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = []
    missed = False
    for path in args.files:
        row = measure(path, args.target, metric=not args.no_metric)
        found.append(row)
        times = ", ".join(f"{name} {wall:.2f} ({cpu:.2f})" for name, (wall, cpu) in row["seconds"].items())
        print(
            f"{row['task']}: {row['nodes']} nodes at {row['nodes_test']:.3f}, {row['edges']} of {row['possible']} "
            f"edges hold {row['train']:.3f}, held out {row['test']:.3f}; unconnected {row['unconnected']:.3f}; "
            f"frozen against exact {row['rank_correlation']:.2f}; {times}; {torch.get_num_threads()} threads",
            flush=True,
        )
        missed |= print_bounds(row)
        if args.json:
            args.json.write_text(json.dumps(found, indent=1))
    raise SystemExit(missed)


if __name__ == "__main__":
    main()
