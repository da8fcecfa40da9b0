"""Does the circuit hold all that matters?

Completeness is what is left of the behaviour when the circuit is ablated in M_s (Marks et al. 2024). Nodes are removed
at the positions at which the circuit has them. Published comparisons removed a mask's latents at all positions and a
baseline's at single ones; that number stands beside, it is not the verdict.

Wang et al. 2022 (section 4, completeness) ask more: for every subset K of the circuit, C without K should do what M
without K does, F(C∖K) = F(M∖K). If something outside the circuit stands in for K, the two part. K is drawn at
random, each node with probability 1/2, and grown greedily, each step with the best of `CANDIDATES` nodes drawn at
random. F is the mean logit difference as a share of m(M) - m(0), as in faithfulness, and M has the SAEs spliced in.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measuring, finite, grade, worst
from circuit_tui.core.evaluation.live_circuit import LiveCircuit

LEFT = 0.2, 0.5
"""|completeness|: a fifth of the behaviour is left without it; then half. Below 0 the rest works against it."""
RANDOM = 0.15, 0.3
"""Mean |F(C∖K) - F(M∖K)| over random K. An honest circuit at 0.95 starts with 0.05 at K = {}."""
GREEDY = 0.3
"""The same of the worst K that a greedy search finds: beyond it something stands in for a part of the circuit."""
CANDIDATES = 10


def removal(subject: AuditedCircuit) -> Measuring:
    """What is left of the behaviour on held-out prompts without the circuit."""
    matched = yield from _removed(subject, subject.kept)
    every = yield from _removed(subject, at_every_position(subject))
    verdict = grade(abs(matched), *LEFT)
    return Finding(
        "completeness", verdict,
        f"Without the circuit's nodes, at their own positions, {matched:.1%} of the behaviour is left: "
        f"{_LEFT['against' if matched < -LEFT[0] else verdict]}.",
        {"completeness": finite(matched), "at_every_position": finite(every)},
    )  # fmt: skip


def subsets(subject: AuditedCircuit) -> Measuring:
    """F(C∖K) against F(M∖K), K a random and a greedily grown subset of the circuit."""
    count = subject.settings.subsets
    nodes = subject.kept.nonzero()[:, 0]
    if not len(nodes) or not count:
        return Finding("subsets", "not measured", "There are no parts to take away.")
    draw = torch.Generator().manual_seed(subject.settings.seed)
    whole = yield from difference(subject, nodes[:0])
    apart = []
    for index in range(count):
        taken = nodes[torch.rand(len(nodes), generator=draw) < 0.5]
        apart.append((yield from difference(subject, taken)))
        yield 0.3 * (index + 1) / count
    worst_of, taken = whole, nodes[:0]
    live = LiveCircuit(subject.test, subject.kept)
    yield None
    for step in range(min(count, len(nodes))):
        left = nodes[~torch.isin(nodes, taken)]
        tried = left[torch.randperm(len(left), generator=draw)[:CANDIDATES]]
        yield from live.advance_to(_less(subject.kept, taken))
        parts = []
        for node in tried:
            mean = yield from live.evaluate_without(int(node))
            model = yield from _removed(subject, subject.kept & ~_less(subject.kept, torch.cat([taken, node[None]])))
            parts.append(abs(subject.test.baselines.faithfulness(mean) - model))
            yield 0.3 + 0.7 * (step + len(parts) / len(tried)) / count
        best = max(range(len(parts)), key=parts.__getitem__)
        taken = torch.cat([taken, tried[best : best + 1]])
        if parts[best] > worst_of:
            worst_of = parts[best]
    mean = sum(apart) / len(apart)
    verdict = worst(grade(mean, *RANDOM), "good" if worst_of <= GREEDY else "doubtful")
    return Finding(
        "subsets", verdict,
        f"Take a random half of the circuit out of it and out of the model: they end {mean:.2f} apart on average, "
        f"{worst_of:.2f} for the worst part found: {_SUBSETS[verdict]}.",
        {
            "nothing_taken": finite(whole), "random_mean": finite(mean), "random_max": finite(max(apart)),
            "greedy_max": finite(worst_of), "greedy_size": len(taken),
        },
    )  # fmt: skip


def difference(subject: AuditedCircuit, taken: Tensor) -> Generator[float | None, None, float]:
    """|F(C∖K) - F(M∖K)| on held-out prompts, K the nodes `taken` `[taken]` of the circuit."""
    without = _less(subject.kept, taken)
    circuit = yield from subject.test.faithfulness(without)
    model = yield from _removed(subject, subject.kept & ~without)
    return abs(circuit - model)


def _less(kept: Tensor, taken: Tensor) -> Tensor:
    """The circuit `kept` `[node]` bool without the nodes `taken` `[taken]`."""
    return kept.index_fill(0, taken, False)


def at_every_position(subject: AuditedCircuit) -> Tensor:
    """`[node]` bool of the candidates whose latent the circuit has at any position."""
    space = subject.problem.space
    latents = space.site * (int(space.latent.max()) + 1) + space.latent
    return torch.isin(latents, latents[subject.kept])


def _removed(subject: AuditedCircuit, nodes: Tensor) -> Generator[float | None, None, float]:
    measured = yield from subject.test.measure_removed(nodes)
    return subject.test.baselines.faithfulness(measured.mean_logit_diff)


_LEFT = {
    "good": "it holds nearly all that matters",
    "doubtful": "something outside it carries part of the behaviour",
    "bad": "the model hardly needs it",
    "against": "nodes outside it work against the behaviour",
}
_SUBSETS = {
    "good": "its parts matter to the model as they matter to it",
    "doubtful": "something outside the circuit stands in for a part of it",
    "bad": "the model does not depend on its parts as the circuit does",
}
