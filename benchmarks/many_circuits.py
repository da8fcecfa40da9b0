"""Many circuits in one pass against one after the other: the effects of the nodes of a circuit on all test prompts.

    python benchmarks/many_circuits.py [--shapes gpt2-small] [--device cuda] [--dtype bfloat16] [--most 1,8,64]
        [--nodes 100] [--test 64] [--length 16] [--rounds 5] [--json FILE]

A column for each number of `--most`, the circuits in a pass at most, measured in turn in one process on the same random
weights. On a device for which the program runs single passes they are run all the same, to see what they would take.
`chosen` is what the program does by itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from device_peak import elapsed
from in_turn import machine
from shapes import SHAPES, random_model, random_problem, random_sites, template_tokens

from circuit_tui.core.choices import DTYPES
from circuit_tui.core.evaluation import many_circuits
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.models.devices import pick_device, pick_dtype

ANY_WORK = 1e30


def effects(live: LiveCircuit, nodes: list[int], most: int | None) -> list[float]:
    """The mean logit difference without each of `nodes`, with at most `most` circuits in a pass; by itself if None."""
    allowed, most_at_once = dict(many_circuits.WORK_AT_ONCE), many_circuits.MOST_CIRCUITS
    if most is not None:
        many_circuits.WORK_AT_ONCE[live.evaluator.problem.model.device.type] = ANY_WORK
        many_circuits.MOST_CIRCUITS = most
    try:
        values = list[float]()
        while len(values) < len(nodes):
            values += live.evaluate_first_toggled(nodes[len(values) :]).result()
        return values
    finally:
        many_circuits.WORK_AT_ONCE.clear()
        many_circuits.WORK_AT_ONCE.update(allowed)
        many_circuits.MOST_CIRCUITS = most_at_once


def run_shape(name: str, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Measures one shape and prints its row."""
    shape = SHAPES[name]
    model = random_model(shape, device, pick_dtype(args.dtype))
    tokens = template_tokens(args.test, args.length, int(model.bridge.cfg.d_vocab)).to(device)
    sites = random_sites(model, shape, tokens, 0.0)
    problem = random_problem(shape, args.test, args.length, args.test, model, sites)
    kept = torch.zeros(len(problem.space), dtype=torch.bool)
    kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(2))[: args.nodes]] = True
    live = LiveCircuit(Evaluator(problem, "test"), kept)
    space, nodes = problem.space, kept.nonzero()[:, 0].tolist()
    nodes.sort(key=lambda node: (int(space.site[node]), int(space.position[node])))  # as the session does
    runs = {str(most): partial(effects, live, nodes, most) for most in args.most} | {
        "chosen": partial(effects, live, nodes, None)
    }
    values = {what: run() for what, run in runs.items()}  # warms up
    apart = max(abs(a - b) for each in values.values() for a, b in zip(each, values["chosen"], strict=True))
    seconds: dict[str, list[float]] = {what: [] for what in runs}
    for _ in range(args.rounds):
        for what, run in runs.items():
            seconds[what].append(elapsed(run, device, args.clock))
    medians = {what: float(torch.tensor(each).median()) for what, each in seconds.items()}
    cells = " | ".join(f"{medians[what]:.2f}" for what in runs)
    print(f"| {name} | {len(nodes)} nodes, {args.test} prompts of {args.length} | {cells} | {apart:.1e} |", flush=True)
    return {"device": machine(device), "nodes": len(nodes), "prompts": args.test, "seconds": medians, "apart": apart}


def main(argv: list[str] | None = None) -> int:
    """Parses the flags, measures, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="gpt2-small", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--device")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--most", type=lambda text: [int(part) for part in text.split(",")], default=[1, 8, 64])
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--test", type=int, default=64, help="prompts")
    parser.add_argument("--length", type=int, default=16, help="tokens of a prompt")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: CPU time of this process")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    unknown = [name for name in args.shapes.split(",") if name not in SHAPES]
    if unknown:
        parser.error(f"--shapes {unknown[0]}: unknown; there are {', '.join(SHAPES)}")
    device = pick_device(args.device)
    print(machine(device))
    print(f"| shape | what | {' | '.join(f'{most}, s' for most in args.most)} | chosen, s | at most apart |")
    print(f"|---|---|{'--:|' * (len(args.most) + 2)}")
    report = {name: run_shape(name, args, device) for name in args.shapes.split(",")}
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
