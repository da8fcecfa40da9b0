"""How often the 95% interval of an estimate holds the exact faithfulness, as a table in Markdown.

    python benchmarks/estimates.py [--tasks a,b] [--method mask] [--sizes 8,16,32] [--seeds 10]
    python benchmarks/estimates.py --model FOLDER --saes FOLDER --prompts FILE,FILE
    python benchmarks/estimates.py --model … --nodes blocks.6.hook_resid_post/2546@subject,…

Each task has two random circuits (a tenth and half of the nodes) and one that `--method` finds with its defaults. Of
each circuit single nodes, latents and whole sites are switched. Every toggle is computed exactly, and estimated from
`--seeds` samples of each of the `--sizes` (prompts). With `--nodes` there is one circuit, of these. `withheld` is the
share of estimates that are not shown, `far` the share of those shown that are off by more than 0.05.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.evaluation.metrics import PromptMetrics
from circuit_tui.core.evaluation.sampled_estimate import (
    WIDEST,
    cluster_sample,
    estimate_metrics,
)
from circuit_tui.core.opening.experiment import Experiment, open_experiment
from circuit_tui.core.opening.open_problem import nodes_of
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.open_search import open_search
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.nodes import NodeSpace
from circuit_tui.core.tasks import builtin

SHARES = (0.1, 0.5)
NODES_ON, NODES_OFF, LATENTS = 16, 6, 6


@dataclass(frozen=True)
class Toggle:
    """Exact per-prompt metrics of a circuit before and after an edit of one `kind`; `moved` as `change_sizes`."""

    kind: str
    before: PromptMetrics
    after: PromptMetrics
    moved: Tensor


@dataclass
class Coverage:
    """Counts of estimates: all, those whose interval holds the exact number, those shown, those shown and far off."""

    made: int = 0
    held: int = 0
    shown: int = 0
    shown_held: int = 0
    far: int = 0

    def add(self, error: float, half_width: float) -> None:
        """Counts one estimate that is off by `error`."""
        shown, held = half_width <= WIDEST, error <= half_width
        self.made += 1
        self.held += held
        self.shown += shown
        self.shown_held += shown and held
        self.far += shown and error > WIDEST


def random_circuit(space: NodeSpace, share: float, generator: torch.Generator) -> Tensor:
    """A circuit `[node]` bool of a `share` of the nodes."""
    kept = torch.zeros(len(space), dtype=torch.bool)
    kept[torch.randperm(len(space), generator=generator)[: max(2, int(share * len(space)))]] = True
    return kept


def found_circuit(experiment: Experiment, method: str) -> Tensor:
    """The circuit `[node]` bool that a search with default settings finds."""
    spec = SearchSpec(method, 0.95, 0, {})
    return ended_in(open_search(experiment.problem, experiment.train, experiment.test, spec))


def ended_in(search: Search) -> Tensor:
    """The circuit `[node]` bool that a search ends in."""
    for _ in search:
        pass
    assert search.result is not None
    kept = torch.zeros(len(search.problem.space), dtype=torch.bool)
    kept[sorted(search.result.nodes)] = True
    return kept


def named_circuit(experiment: Experiment, names: str) -> Tensor:
    """The circuit `[node]` bool of the nodes `names`, each ``HOOK/LATENT@POSITION``, separated by commas."""
    problem, nodes = experiment.problem, []
    for name in names.split(","):
        hook, latent, position = re.split("[/@]", name)
        nodes.append((hook, position, int(latent)))
    indices = set(nodes_of(nodes, problem.sites, problem.alignment.names))
    kept = torch.tensor([node in indices for node in problem.space.coordinates()])
    assert int(kept.sum()) == len(indices), "a node is no candidate"
    return kept


def edits(space: NodeSpace, kept: Tensor, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    """The kind of each edit, and the circuit `[node]` bool that it makes of `kept`."""

    def some(nodes: Tensor, n: int) -> list[int]:
        chosen: list[int] = nodes[torch.randperm(len(nodes), generator=generator)[:n]].tolist()
        return chosen

    on, off = kept.nonzero()[:, 0], (~kept).nonzero()[:, 0]
    switched = [("node", torch.tensor([node])) for node in some(on, NODES_ON) + some(off, NODES_OFF)]
    for node in some(on, LATENTS):
        here = (space.site == space.site[node]) & (space.latent == space.latent[node])
        switched.append(("latent", (here & kept).nonzero()[:, 0]))
    for site in space.site.unique().tolist():
        here = space.site == site
        switched.append(("site", (here & kept if (here & kept).any() else here).nonzero()[:, 0]))
    for kind, nodes in switched:
        changed = kept.clone()
        changed[nodes] = ~changed[nodes]
        yield kind, changed


def toggles(test: Evaluator, kept: Tensor, generator: torch.Generator) -> list[Toggle]:
    """Edits of the circuit `kept` `[node]` bool with their exact metrics."""
    live = LiveCircuit(test, kept)
    before, made = live.measured, []
    for kind, changed in edits(test.problem.space, kept, generator):
        live.advance_to(kept).result()
        moved = live.change_sizes(changed)
        assert moved is not None
        live.advance_to(changed).result()
        made.append(Toggle(kind, before, live.measured, moved))
    return made


def coverage(test: Evaluator, cases: list[Toggle], size: int, seeds: int) -> Coverage:
    """Estimates every toggle from samples of `size` prompts; a sample for each toggle and seed."""
    counts, baselines = Coverage(), test.baselines
    for index, case in enumerate(cases):
        exact = baselines.faithfulness(case.after.mean_logit_diff)
        for seed in range(seeds):
            sample = cluster_sample(test, size, seed * len(cases) + index)
            if sample is None:
                continue
            after, where = case.after, sample.where
            seen = PromptMetrics(after.logit_diff[where], after.kl[where], after.cross_entropy[where])
            estimate = estimate_metrics(sample, baselines, case.before, seen, case.moved)
            counts.add(abs(estimate.metrics.faithfulness - exact), estimate.faithfulness.half_width)
    return counts


def requests(args: argparse.Namespace) -> dict[str, OpenRequest]:
    """What to open, by the name of its rows."""
    if args.prompts is None:
        return {name: OpenRequest(task=name, device="cpu") for name in args.tasks.split(",")}
    folders = tuple(sorted(path for path in args.saes.iterdir() if path.is_dir()))
    files = [Path(name) for name in args.prompts.split(",")]
    return {path.stem: OpenRequest(model=args.model, sae_dirs=folders, prompts=path, device="cpu") for path in files}


def main() -> None:
    """Parses the command line and prints the table, task by task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(builtin.names()), help="built-in tasks")
    parser.add_argument("--model", help="a model's folder, in place of the demo")
    parser.add_argument("--saes", type=Path, help="a folder of SAE folders")
    parser.add_argument("--prompts", help="prompts files, in place of tasks")
    parser.add_argument("--nodes", help="the nodes of the only circuit")
    parser.add_argument("--method", default="mask", help="the search method of the third circuit")
    parser.add_argument("--sizes", default="8,16,32", help="prompts in a sample")
    parser.add_argument("--seeds", type=int, default=10, help="samples for each toggle and size")
    args = parser.parse_args()
    print("| task | circuit | nodes | toggles | sample | intervals that hold | withheld | shown that hold | far |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, request in requests(args).items():
        experiment, generator = open_experiment(request), torch.Generator().manual_seed(0)
        space = experiment.problem.space
        if args.nodes is not None:
            circuits = {"named": named_circuit(experiment, args.nodes)}
        else:
            circuits = {f"random, {share:.0%}": random_circuit(space, share, generator) for share in SHARES}
            circuits[args.method] = found_circuit(experiment, args.method)
        for circuit, kept in circuits.items():
            cases = toggles(experiment.test, kept, generator)
            for size in map(int, args.sizes.split(",")):
                counts = coverage(experiment.test, cases, size, args.seeds)
                made, shown = max(1, counts.made), max(1, counts.shown)
                print(
                    f"| {name} | {circuit} | {int(kept.sum())} | {len(cases)} | {size} | {counts.held / made:.3f} "
                    f"| {1 - counts.shown / made:.3f} | {counts.shown_held / shown:.3f} | {counts.far / shown:.4f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
