"""How good can a circuit of so many nodes be? Simulated annealing at fixed sizes, to see what a search leaves to find.

    python benchmarks/floor.py [--tasks a,b] [--shares 1,0.95,0.9,0.8] [--evaluations 6000] [--seed 0]

For each task the default search is run; then, for each share of its size, circuits of just that many nodes are
annealed: one to three nodes are exchanged at a time, and the change is kept if faithfulness comes closer to 1, or by
chance if it does not, ever more rarely (Metropolis). Twice: from the circuit of that size on the search's own frontier,
and from the nodes with the largest gradient at M_s, which owes the search nothing. Each circuit is evaluated exactly on
a sample of the search prompts, the best on all of them: those are the numbers in the table, 1 - |1 - f|.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.frontier import score
from circuit_tui.core.search.objective import MaskedModel, faithfulness_gradient
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.session.session import open_session
from circuit_tui.core.tasks import builtin as tasks

SAMPLE = 96
HOTTEST, COLDEST = 0.02, 1e-5
REMEMBERED = 20
GRADIENT_EVERY = 40
BY_GRADIENT = 0.7
"""How often a node is drawn by its gradient; else any is as likely as any other."""
LEAVING, COMING = 0.02, 0.01
"""How much faithfulness by the gradient makes a node e times less likely to leave, and likelier to come."""


@dataclass
class Annealing:
    """Circuits of one size, one exchange of nodes after the other; `best` are the best on the sample, best first."""

    search: Search
    seed: int
    best: list[tuple[float, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draw = torch.Generator().manual_seed(self.seed)
        prompts = torch.randperm(len(self.search.train), generator=self.draw)[:SAMPLE]
        self.sample = Evaluator(self.search.problem, "train", prompts)
        self.masked = MaskedModel(self.search.problem, torch.arange(len(self.search.problem.space)))

    def gradient(self, kept: Tensor) -> Tensor:
        """Gradient `[node]` of the sample's faithfulness with respect to the mask, at the circuit `kept`."""
        return faithfulness_gradient(self.masked, self.sample, kept)

    def run(self, kept: Tensor, evaluations: int) -> float:
        """Anneals from `kept` `[node]` bool; returns the best score on all search prompts."""
        live = LiveCircuit(self.sample, kept)
        now = score(self.sample.baselines.faithfulness(live.measured.mean_logit_diff))
        self.best = [(now, kept.clone())]
        for step in range(evaluations):
            if step % GRADIENT_EVERY == 0:
                gradient = self.gradient(live.kept)
            trial = self.exchanged(live.kept, gradient)
            value = score(self.sample.baselines.faithfulness(live.evaluate_first_alternatives(trial[None]).result()[0]))
            heat = HOTTEST * (1 - step / evaluations) + COLDEST
            if value > now or self.chance() < math.exp((value - now) / heat):
                live.advance_to(trial).result()
                now = value
                self.best = sorted([*self.best, (now, trial)], key=lambda found: -found[0])[:REMEMBERED]
        return max(score(self.search.train.faithfulness(circuit).result()) for _, circuit in self.best)

    def exchanged(self, kept: Tensor, gradient: Tensor) -> Tensor:
        """`kept` with one to three of its nodes exchanged for as many others."""
        count = min(1 + int(2.2 * self.chance() ** 2), int(kept.sum()) - 1)
        trial = kept.clone()
        trial[self.drawn(kept, -gradient.abs() / LEAVING, count)] = False
        trial[self.drawn(~kept, gradient / COMING, count)] = True
        return trial

    def drawn(self, among: Tensor, promise: Tensor, count: int) -> Tensor:
        """`count` numbers of nodes of `among` `[node]` bool, likelier the larger their `promise` `[node]`."""
        likely = torch.softmax(promise.masked_fill(~among, -math.inf), 0)
        weights = BY_GRADIENT * likely + (1 - BY_GRADIENT) * among / among.sum()
        return torch.multinomial(weights, count, generator=self.draw)

    def chance(self) -> float:
        """A number in [0, 1)."""
        return float(torch.rand((), generator=self.draw))


def of_size(search: Search, size: int) -> tuple[Tensor, float]:
    """The circuit of `size` nodes nearest to the search's frontier, and its score there; nodes are added by number."""
    found = search.circuit(size)
    if found is not None:
        return found.kept.clone(), score(found.faithfulness)
    larger = min(point.size for point in search.frontier() if point.size >= size)
    circuit = search.circuit(larger)
    assert circuit is not None
    kept = circuit.kept.clone()
    kept[kept.nonzero()[size:, 0]] = False
    return kept, score(search.train.faithfulness(kept).result())


def main() -> None:
    """Parses the command line, prints a row for each task and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(tasks.names()))
    parser.add_argument("--shares", default="1,0.95,0.9,0.8")
    parser.add_argument("--evaluations", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print("| task | nodes | on mask's frontier | annealed from there | annealed from the largest gradients |")
    print("|---|--:|--:|--:|--:|")
    for task in args.tasks.split(","):
        search = open_session(OpenRequest(task=task)).search(SearchSpec("mask", 0.95, args.seed, {}))
        for _ in search:
            pass
        assert search.result is not None
        most, annealing = len(search.result.nodes), Annealing(search, args.seed)
        everything = torch.ones(len(search.problem.space), dtype=torch.bool)
        order = annealing.gradient(everything).abs().argsort(descending=True)
        for size in sorted({round(float(share) * most) for share in args.shares.split(",")}, reverse=True):
            own, had = of_size(search, size)
            afresh = torch.zeros_like(own).index_fill_(0, order[:size], True)
            scores = [annealing.run(start, args.evaluations) for start in (own, afresh)]
            print(f"| `{task}` | {size} | {had:.3f} | {scores[0]:.3f} | {scores[1]:.3f} |", flush=True)


if __name__ == "__main__":
    main()
