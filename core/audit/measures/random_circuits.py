"""The first control: how good are random circuits with as many nodes at each site as the circuit?"""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measurement, finite
from circuit_tui.core.choices import Verdict
from circuit_tui.core.search.frontier import score
from circuit_tui.core.splice.problem import Problem

MAX_CHANCE = 0.05
"""If more than this share of random circuits, the circuit itself included, is at least as good, chance found it."""
CLOSE_SHARE = 0.5
"""If the best random circuit has more than this share of the circuit's score, most of it is had by chance."""


def random_circuits(audited: AuditedCircuit) -> Measurement:
    """Compares the scores 1 - |1 - f| of random circuits on held-out prompts with the circuit's own."""
    count = audited.settings.random_circuits
    if not count:
        return Finding("random", "not measured", "No random circuits were asked for.")
    own = score((yield from audited.test.faithfulness(audited.kept)))
    draw = torch.Generator().manual_seed(audited.settings.seed)
    circuits = torch.stack([random_circuit_like(audited.problem, audited.kept, draw) for _ in range(count)])
    values = list[float]()
    while len(values) < count:
        values += yield from audited.test.faithfulness_of_first(circuits[len(values) :])
        yield len(values) / count
    scores = [score(value) for value in values]
    chance = (1 + sum(value >= own for value in scores)) / (1 + count)
    mean, best = sum(values) / count, max(scores)
    verdict: Verdict = "bad" if not chance <= MAX_CHANCE else "doubtful" if best > CLOSE_SHARE * own else "good"
    return Finding(
        "random", verdict,
        f"{count} random circuits with as many nodes at each site have a faithfulness of {mean:.3f} on average, the "
        f"best comes as close to 1 as {best:.3f}, the circuit {own:.3f}: {_MEANING[verdict]}.",
        {"mean": finite(mean), "best_score": finite(best), "own_score": finite(own), "chance": chance, "draws": count},
    )  # fmt: skip


def random_circuit_like(problem: Problem, kept: Tensor, draw: torch.Generator) -> Tensor:
    """Returns a random circuit, `[node]` bool, with as many nodes at each site as `kept`."""
    chosen = torch.zeros_like(kept)
    for site, count in enumerate(problem.space.counts(kept)):
        nodes = problem.space.of_site(site)
        chosen[nodes.start + torch.randperm(len(nodes), generator=draw)[:count]] = True
    return chosen


_MEANING = {
    "good": "it is no accident",
    "doubtful": "much of it can be had by chance",
    "bad": "a random choice does as well",
}
