"""How fast we are, against the published recipe written plainly and against the bare layers.

    python benchmarks/speed.py [--shapes gpt2-small,gemma-2-9b-16k] [--what step,edits,search] [--device cuda]
        [--dtype bfloat16] [--prompts 32] [--length 16] [--rounds 5] [--quick] [--json FILE]

In one process, on the same random weights, prompts and sites, and in turn:

    step    one optimisation step of the default search on all train prompts, run by the search (`search_step.py`)
    edits   toggle: one node of a circuit switched, with every number of the new circuit on all test prompts;
            column: one entry of the leave-one-out column, the circuit without one node, on all test prompts
    search  a whole run: the default search to the end, all of its stages; the recipe's 408 steps and one evaluation, of
            one lambda of a sweep, of which `--recipe-steps` are run and scaled up (`whole_search.py`). Only here is
            ours run once. A few latents of each SAE carry what the prompts differ in (`shapes.py`): random ones have no
            circuit to find. A search that was none (`why_no_search`) gives no ratio.

against

    published  `published.py`: the same by full passes of the model with hooks
    bare       forward (and backward, for the step) of the layers after the first site, no SAE at all

The shape `demo` is the bundled model on `--task`, with all of its prompts. A circuit has `--nodes` nodes drawn at
random. A shape that does not fit in memory is left out, and said so.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
import transformers
from bare_layers import bare_pass
from device_peak import Peak, peak_of
from in_turn import Measured, Runs, machine, measure, peak_memory, varieties
from published import STEPS, Recipe
from search_step import SearchStep
from shapes import CARRIED, PASS, SHAPES, random_model, random_problem, random_sites, template_tokens
from whole_search import whole_search

from circuit_tui.core.choices import DTYPES
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.models.devices import pick_device, pick_dtype
from circuit_tui.core.opening.open_problem import open_problem
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.runtime.device_memory import free_memory
from circuit_tui.core.splice.problem import Problem

DEMO = "demo"
"""The bundled model with a task, as a shape: there a circuit can be found."""


def step_runs(problem: Problem) -> Runs:
    """See the module's docstring."""
    recipe = Recipe(problem)
    return {"step": SearchStep(problem), "published": recipe.step, "bare": bare_pass(problem, "train", True)}


def edit_runs(problem: Problem, nodes: int, rounds: int) -> Runs:
    """Toggles nodes of the circuit and asks for the effects of others, from the first site to the last."""
    recipe, (live, kept, chosen) = Recipe(problem), _circuit(problem, nodes, 2 * varieties(rounds))
    toggles, asked, hard = cycle(chosen.tolist()[::2]), cycle(chosen.tolist()[1::2]), recipe.hard(kept)

    def toggle() -> None:
        changed = live.kept.clone()
        node = next(toggles)
        changed[node] = not changed[node]
        live.advance_to(changed).result()

    def published() -> None:
        with torch.no_grad():
            recipe.logit_difference("test", slice(None), hard)

    return {
        "toggle": toggle,
        "column": lambda: live.evaluate_first_toggled([next(asked)]).result(),
        "published": published,
        "bare": bare_pass(problem, "test", False),
    }


def _circuit(problem: Problem, nodes: int, some: int) -> tuple[LiveCircuit, torch.Tensor, torch.Tensor]:
    """A random circuit, followed on the test prompts, and `some` of its nodes, spread evenly over the sites."""
    kept = torch.zeros(len(problem.space), dtype=torch.bool)
    kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(2))[:nodes]] = True
    chosen = kept.nonzero()[:, 0]
    chosen = chosen[torch.linspace(0, len(chosen) - 1, some + 2).long()[1:-1]]
    if len(set(chosen.tolist())) < some:
        raise SystemExit(f"--nodes {nodes}: fewer than {some}, which these rounds need")
    return LiveCircuit(Evaluator(problem, "test"), kept), kept, chosen


HEAD = """| what | median, ms | quarter points | tokens/s | more MB | share of peak | published / this | this / bare |
|---|--:|---|--:|--:|---|--:|--:|"""


def table(found: dict[str, Measured], tokens: int) -> list[str]:
    """The lines of one kind of work."""
    lines, published, bare = [], found["published"].median, found["bare"].median
    for name, one in found.items():
        ratios = (
            f"{published / one.median:.1f} | {one.median / bare:.2f}" if name not in ("published", "bare") else " | "
        )
        share = f"{one.share:.0%} ({one.binds})" if one.gflop else "not counted: replayed"
        lines.append(
            f"| {name} | {one.median * 1e3:.1f} | {one.low * 1e3:.1f} to {one.high * 1e3:.1f} | "
            f"{tokens / one.median:.0f} | {one.extra_bytes / 1e6:.0f} | {share} | {ratios} |"
        )
    return lines


def search_table(found: dict[str, Any]) -> list[str]:
    """The lines of a whole search, and of what it took for."""
    ours, bare, theirs, run = (found[name] for name in ("ours", "bare", "published", "recipe_steps_run"))
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found["stages"].items())
    if found["why_not"]:
        first = f"| search: no number, because {found['why_not']} | | {stages} | | | | | |"
    else:
        what = f"search: {found['nodes']} of {found['candidates']} nodes, f {found['faithfulness']:.3f}"
        first = f"| {what} | {ours * 1e3:.0f} | {stages} | | | | {theirs / ours:.1f} | {ours / bare:.2f} |"
    return [
        first,
        f"| published | {theirs * 1e3:.0f} | {run} of {found['recipe_steps']} steps, scaled up | | | | | |",
        f"| bare, {found['steps']} steps | {bare * 1e3:.0f} | {run} of them, scaled up | | | | | |",
    ]


def run_shape(name: str, args: argparse.Namespace, device: torch.device, peak: Peak) -> dict[str, Any]:
    """All that is asked for of one shape; prints its table."""
    asked = args.what.split(",")
    carried = CARRIED if asked == ["search"] else 0.0
    problem = opened(name, args, device, carried)
    widths = sorted({site.sae.d_sae for site in problem.sites})
    train, test = (problem.prompt_sets[split].clean.tokens for split in ("train", "test"))
    report: dict[str, Any] = {
        "device": machine(device), "dtype": args.dtype, "prompts": len(train), "test_prompts": len(test),
        "length": train.shape[1], "sites": len(problem.sites), "d_sae": widths, "candidates": len(problem.space),
    }  # fmt: skip
    made = f"{len(problem.sites)} sites of {widths[0]:,} latents, {len(problem.space):,} candidates"
    prompts = f"{len(train)} train and {len(test)} test prompts of {train.shape[1]} tokens"
    print(f"\n**{name}**, {args.dtype}, {made}; {prompts}\n\n{HEAD}", flush=True)
    if "step" in asked:
        found = measure(step_runs(problem), args.rounds, device, peak, args.clock)
        report["step"] = {one: value.as_json() for one, value in found.items()}
        print("\n".join(table(found, train.numel())), flush=True)
    if "edits" in asked:
        runs = edit_runs(problem, args.nodes, args.rounds)
        found = measure(runs, args.rounds, device, peak, args.clock, ("toggle", "column"))
        report["edits"] = {one: value.as_json() for one, value in found.items()}
        print("\n".join(table(found, test.numel())), flush=True)
    report["peak_bytes"] = peak_memory(device)
    if "search" in asked:
        if not carried and name != DEMO:
            del problem
            problem = opened(name, args, device, CARRIED)
        report["search"] = found_search = whole_search(problem, args.steps, args.recipe_steps, args.clock)
        print("\n".join(search_table(found_search)), flush=True)
    print(f"\n{machine(device)} at the end.", flush=True)
    return report


def opened(name: str, args: argparse.Namespace, device: torch.device, carried: float = 0.0) -> Problem:
    """A problem of the shape, or the demo's; `carried` as in `random_sites`."""
    if name == DEMO:
        request = OpenRequest(task=args.task, device=args.device, dtype=args.dtype)
        return open_problem(request, lambda stage: None).problem
    shape = SHAPES[name]
    model = random_model(shape, device, pick_dtype(args.dtype))
    tokens = template_tokens(4 * PASS if carried else PASS, args.length, int(model.bridge.cfg.d_vocab)).to(device)
    sites = random_sites(model, shape, tokens, carried)
    problem = random_problem(shape, args.prompts, args.length, args.test, model, sites)
    return replace(problem, batch_size=None)  # that was for the opening; from here on all prompts go in one pass


def needed(name: str, dtype: torch.dtype, prompts: int) -> int:
    """Bytes that a shape takes, weights and SAEs, and the recipe's parameters with their gradient and moments."""
    if name == DEMO:
        return 0
    shape = SHAPES[name]
    with torch.device("meta"):
        config = getattr(transformers, shape.family)(**shape.config)
        model = transformers.AutoModelForCausalLM.from_config(config)
    width = int(config.hidden_size)
    latents = len(shape.layers) * shape.d_sae
    weights = sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize
    # Per latent: encoder and decoder, float32; of the recipe's pass a handful of activations of each token.
    return weights + latents * 4 * (2 * width + 8 * 16 * prompts)


def main(argv: list[str] | None = None) -> int:
    """Parses the flags, measures, prints tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="gpt2-small", help=f"of {DEMO}, {', '.join(SHAPES)}")
    parser.add_argument("--what", default="step,edits", help="of step, edits, search")
    parser.add_argument("--task", default="sva-rc", help=f"of {DEMO}; its prompts must have one length and a BOS")
    parser.add_argument("--device")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--prompts", type=int, default=32, help="train prompts, all in each step")
    parser.add_argument("--test", type=int, default=64, help="test prompts of toggle and column")
    parser.add_argument("--length", type=int, default=16, help="tokens of a prompt")
    parser.add_argument("--nodes", type=int, default=100, help="size of the circuit of toggle and column")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--recipe-steps", type=int, default=5, help=f"how many of the recipe's {STEPS} are run")
    parser.add_argument("--steps", type=int, default=300, help="optimisation steps of our search")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: CPU time of this process")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, two rounds: to see that it runs")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    if args.quick:
        args.shapes, args.what = "gpt2-tiny,gemma-2-tiny", "step,edits,search"
        args.prompts, args.test, args.length, args.nodes, args.rounds = 4, 4, 10, 40, 2
        args.steps, args.recipe_steps = 5, 2
    if args.threads:
        torch.set_num_threads(args.threads)
    unknown = [name for name in args.shapes.split(",") if name not in (DEMO, *SHAPES)]
    if unknown:
        parser.error(f"--shapes {unknown[0]}: unknown; there are {DEMO}, {', '.join(SHAPES)}")
    device = pick_device(args.device)
    peak = peak_of(device, args.clock)
    rates = ", ".join(f"{rate / 1e12:.2f} TFLOP/s {str(dtype)[6:]}" for dtype, rate in peak.flops.items())
    print(f"{machine(device)}\nPeak ({peak.source}): {rates}, {peak.bandwidth / 1e9:.0f} GB/s")
    report: dict[str, Any] = {"device": machine(device), "clock": args.clock, "peak": {
        "source": peak.source, "bandwidth": peak.bandwidth, "flops": {str(k)[6:]: v for k, v in peak.flops.items()},
    }, "shapes": {}}  # fmt: skip
    for name in args.shapes.split(","):
        free, takes = free_memory(device), needed(name, pick_dtype(args.dtype), args.prompts)
        if free is not None and takes > free:
            print(f"\n**{name}** takes {takes / 1e9:.0f} GB, {free / 1e9:.0f} GB are free: left out.")
            continue
        report["shapes"][name] = run_shape(name, args, device, peak)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
