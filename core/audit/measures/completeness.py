"""Does the circuit hold everything that matters?

Completeness is the share of the behaviour that is left when the circuit is ablated in M_s (Marks et al. 2024). Nodes
are removed at the positions at which the circuit has them. Published comparisons removed a mask's latents at all
positions and a baseline's at single positions; the finding gives that number too, but the verdict does not use it.

Wang et al. 2022 (section 4, completeness) ask more: for every subset K of the circuit, C without K should do what M
without K does, F(C∖K) = F(M∖K). If something outside the circuit stands in for K, the two differ. K is drawn at random,
each node with probability 1/2. It is also grown greedily: each step adds the best of `GREEDY_CANDIDATES` nodes drawn at
random. F is the mean logit difference as a share of m(M) - m(0), as in faithfulness, and M has the SAEs spliced in.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measurement, finite, grade, worst_verdict
from circuit_tui.core.audit.limits import COMPLETENESS_LIMITS
from circuit_tui.core.evaluation.live_circuit import LiveCircuit

RANDOM_SUBSET_LIMITS = 0.15, 0.3
"""Mean |F(C∖K) - F(M∖K)| over random K. For K = {} a circuit of faithfulness 0.95 already has 0.05."""
GREEDY_SUBSET_LIMIT = 0.3
"""Up to here |F(C∖K) - F(M∖K)| of the worst K that a greedy search finds is good; above, something stands in for K."""
GREEDY_CANDIDATES = 10


def without_circuit(audited: AuditedCircuit) -> Measurement:
    """Measures how much of the behaviour is left on held-out prompts without the circuit."""
    both = torch.stack([audited.kept, at_every_position(audited)])
    own_positions, every_position = yield from _faithfulness_without(audited, both)
    verdict = grade(abs(own_positions), *COMPLETENESS_LIMITS)
    return Finding(
        "completeness", verdict,
        f"Without the circuit's nodes, at their own positions, {own_positions:.1%} of the behaviour is left: "
        f"{_COMPLETENESS_MEANING['against' if own_positions < -COMPLETENESS_LIMITS[0] else verdict]}.",
        {"completeness": finite(own_positions), "at_every_position": finite(every_position)},
    )  # fmt: skip


def subsets(audited: AuditedCircuit) -> Measurement:
    """Compares F(C∖K) with F(M∖K) for random subsets K of the circuit and for a greedily grown one."""
    count = audited.settings.subsets
    nodes = audited.kept.nonzero()[:, 0]
    if not len(nodes) or not count:
        return Finding("subsets", "not measured", "There are no parts to take away.")
    draw = torch.Generator().manual_seed(audited.settings.seed)
    (nothing_removed,) = yield from first_subset_differences(audited, [nodes[:0]])
    random = [nodes[torch.rand(len(nodes), generator=draw) < 0.5] for _ in range(count)]
    differences = list[float]()
    while len(differences) < count:
        differences += yield from first_subset_differences(audited, random[len(differences) :])
        yield 0.3 * len(differences) / count
    greatest, subset = nothing_removed, nodes[:0]
    live = LiveCircuit(audited.test, audited.kept)
    yield None
    for step in range(min(count, len(nodes))):
        rest = nodes[~torch.isin(nodes, subset)]
        tried = rest[torch.randperm(len(rest), generator=draw)[:GREEDY_CANDIDATES]]
        yield from live.advance_to(_without(audited.kept, subset))
        larger = torch.stack([_removed(audited.kept, torch.cat([subset, node[None]])) for node in tried])
        tried_differences: list[float] = []
        while len(tried_differences) < len(tried):
            done = len(tried_differences)
            means = yield from live.evaluate_first_toggled(tried[done:].tolist())
            models = yield from _faithfulness_without(audited, larger[done : done + len(means)])
            tried_differences += [
                abs(audited.test.baselines.faithfulness(mean) - model)
                for mean, model in zip(means, models, strict=True)
            ]
            yield 0.3 + 0.7 * (step + len(tried_differences) / len(tried)) / count
        best = max(range(len(tried_differences)), key=tried_differences.__getitem__)
        subset = torch.cat([subset, tried[best : best + 1]])
        if tried_differences[best] > greatest:
            greatest = tried_differences[best]
    mean = sum(differences) / len(differences)
    verdict = worst_verdict(
        grade(mean, *RANDOM_SUBSET_LIMITS), "good" if greatest <= GREEDY_SUBSET_LIMIT else "doubtful"
    )
    return Finding(
        "subsets", verdict,
        f"Take a random half of the circuit out of it and out of the model: they end {mean:.2f} apart on average, "
        f"{greatest:.2f} for the worst part found: {_SUBSETS_MEANING[verdict]}.",
        {
            "nothing_taken": finite(nothing_removed),
            "random_mean": finite(mean), "random_max": finite(max(differences)),
            "greedy_max": finite(greatest), "greedy_size": len(subset),
        },
    )  # fmt: skip


def first_subset_differences(
    audited: AuditedCircuit, subsets: Sequence[Tensor]
) -> Generator[float | None, None, list[float]]:
    """Returns |F(C∖K) - F(M∖K)| on held-out prompts of the first of `subsets`: as many as one pass should run.

    Each K is the numbers `[node of K]` of nodes of the circuit.
    """
    kept = audited.kept
    circuits = yield from audited.test.faithfulness_of_first(torch.stack([_without(kept, part) for part in subsets]))
    removed = torch.stack([_removed(kept, part) for part in subsets[: len(circuits)]])
    models = yield from _faithfulness_without(audited, removed)
    return [abs(circuit - model) for circuit, model in zip(circuits, models, strict=True)]


def _without(kept: Tensor, nodes: Tensor) -> Tensor:
    """Returns the circuit `kept` `[node]` bool without the nodes of these numbers."""
    return kept.index_fill(0, nodes, False)


def _removed(kept: Tensor, nodes: Tensor) -> Tensor:
    """Returns the nodes of these numbers, `[node]` bool, as far as the circuit `kept` has them."""
    return kept & ~_without(kept, nodes)


def at_every_position(audited: AuditedCircuit) -> Tensor:
    """Returns the candidates, `[node]` bool, whose latent the circuit has at some position."""
    space = audited.problem.space
    latents = space.site * (int(space.latent.max()) + 1) + space.latent
    return torch.isin(latents, latents[audited.kept])


def _faithfulness_without(audited: AuditedCircuit, nodes: Tensor) -> Generator[float | None, None, list[float]]:
    """Returns the faithfulness on held-out prompts of M_s with each of `nodes` `[circuit, node]` bool ablated."""
    values = list[float]()
    while len(values) < len(nodes):
        values += yield from audited.test.faithfulness_without_first(nodes[len(values) :])
    return values


_COMPLETENESS_MEANING = {
    "good": "it holds nearly all that matters",
    "doubtful": "something outside it carries part of the behaviour",
    "bad": "the model hardly needs it",
    "against": "nodes outside it work against the behaviour",
}
_SUBSETS_MEANING = {
    "good": "its parts matter to the model as they matter to it",
    "doubtful": "something outside the circuit stands in for a part of it",
    "bad": "the model does not depend on its parts as the circuit does",
}
