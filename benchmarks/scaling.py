"""How the cost grows with the work: number of sites, SAE width, prompts and tokens, one of them at a time.

    python benchmarks/scaling.py [--steps 7] [--json FILE] [--picture FILE.svg]

The shapes have random weights, as in `shapes.py`. Measured are, in one process and in turn:

    step      one optimisation step of a mask on all prompts
    evaluate  one circuit of half the candidates afresh on all prompts
    without   the same circuit without a node of its last site: what each entry of the leave-one-out column costs
    kept      what autograd keeps of a step, bytes: counted by storage, weights and constants of the batch left out

Times are seconds of CPU time of one thread, which other programs on the machine disturb less than a clock on the wall.
An exponent is the slope of a straight line through the logarithms, least squares over all values.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from kept_bytes import kept_bytes
from search_step import SearchStep
from shapes import Shape, random_problem

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.splice.problem import Problem

CONFIG = {"n_layer": 8, "n_embd": 256, "n_head": 4, "vocab_size": 1024}
QUANTITIES = ("step", "evaluate", "without", "kept")


@dataclass(frozen=True)
class Work:
    """One amount of work."""

    sites: int = 4
    d_sae: int = 4096
    prompts: int = 32
    tokens: int = 16

    def problem(self) -> Problem:
        """Random weights; the sites are spread over the layers, the first always after the first block."""
        layers = tuple(round(index * (CONFIG["n_layer"] - 1) / max(1, self.sites)) for index in range(self.sites))
        return random_problem(Shape(layers, self.d_sae, CONFIG), self.prompts, self.tokens, 1)


GROWING: dict[str, tuple[int, ...]] = {
    "sites": (1, 2, 4, 7),
    "d_sae": (1024, 4096, 16384),
    "prompts": (8, 16, 32, 64),
    "tokens": (8, 16, 32),
}


def measure(work: Work, rounds: int) -> dict[str, float]:
    """Medians of `rounds` turns after one that warms up."""
    problem = work.problem()
    evaluator = Evaluator(problem, "train")
    half = torch.arange(len(problem.space)) % 2 == 0
    live = LiveCircuit(evaluator, half)
    last = int(half.nonzero()[-1, 0])
    timed: dict[str, Callable[[], object]] = {
        "step": SearchStep(problem),
        "evaluate": lambda: evaluator.faithfulness(half).result(),
        "without": lambda: live.evaluate_first_toggled([last]).result()[0],
    }
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for round_ in range(rounds + 1):
        for name, run in timed.items():
            start = time.thread_time()
            run()
            if round_:
                seconds[name].append(time.thread_time() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return medians | {
        "kept": float(kept_bytes(problem, torch.arange(work.prompts))),
        "candidates": float(len(problem.space)),
    }


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of log y over log x."""
    return statistics.linear_regression([math.log(value) for value in x], [math.log(value) for value in y]).slope


def draw(report: dict[str, dict[str, list[float]]], exponents: dict[str, dict[str, float]], path: Path) -> None:
    """One panel for each kind of work, both axes logarithmic."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axes = figure.subplots(2, len(report), sharex="col", sharey="row")
    for column, (kind, rows) in enumerate(report.items()):
        for row, names in enumerate((("step", "evaluate", "without"), ("kept",))):
            panel = axes[row][column]
            for name, style in zip(names, ("o-", "s--", "^:"), strict=False):
                values = [value * (1e3 if name != "kept" else 1e-6) for value in rows[name]]
                panel.loglog(rows["x"], values, style, label=f"{name}  {exponents[kind][name]:.2f}", markersize=4)
            panel.legend(fontsize=7, frameon=False, title="exponent", title_fontsize=7, loc="upper left")
            panel.set_xticks(rows["x"], [f"{value:,.0f}" for value in rows["x"]], fontsize=7)
            panel.minorticks_off()
            panel.spines[["top", "right"]].set_visible(False)
        axes[0][column].set_title({"d_sae": "SAE width"}.get(kind, kind), fontsize=9)
    for row, (low, high), ticks in ((0, (5, 1600), (10, 30, 100, 300, 1000)), (1, (25, 400), (30, 60, 120, 240))):
        axes[row][0].set_ylim(low, high)
        axes[row][0].set_yticks(ticks, [str(tick) for tick in ticks], fontsize=7)
    axes[0][0].set_ylabel("milliseconds", fontsize=8)
    axes[1][0].set_ylabel("megabytes", fontsize=8)
    with mpl.rc_context({"svg.hashsalt": "circuit-tui"}):
        figure.savefig(path)


def main() -> int:
    """Parses the flags, measures, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)  # the clock is that of one thread
    report: dict[str, dict[str, list[float]]] = {}
    for kind, values in GROWING.items():
        found = [measure(replace(Work(), **{kind: value}), args.steps) for value in values]
        rows = {name: [one[name] for one in found] for name in (*QUANTITIES, "candidates")}
        report[kind] = {"x": [float(value) for value in values], **rows}
        for value, one in zip(values, found, strict=True):
            times = " | ".join(f"{one[name] * 1e3:.1f}" for name in QUANTITIES[:3])
            print(f"| {kind} {value} | {one['candidates']:.0f} | {times} | {one['kept'] / 1e6:.1f} |", flush=True)
    exponents = {
        kind: {name: exponent(rows["x"], rows[name]) for name in (*QUANTITIES, "candidates")}
        for kind, rows in report.items()
    }
    for kind, slopes in exponents.items():
        print(f"exponents | {kind} |", " | ".join(f"{name} {slope:.2f}" for name, slope in slopes.items()))
    facts = {"threads": torch.get_num_threads(), "base": asdict(Work()), "model": CONFIG}
    if args.json:
        args.json.write_text(json.dumps({**facts, "work": report, "exponents": exponents}, indent=1))
    if args.picture:
        draw(report, exponents, args.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
