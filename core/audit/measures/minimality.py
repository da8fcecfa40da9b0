"""Could it be smaller? No single node can go, and how many pairs could.

A node, or a pair, can go if the circuit without it still is what was asked for on the search prompts: its score
1 - |1 - f| stays at the target if the circuit reaches that, and does not fall otherwise.
"""

from __future__ import annotations

from itertools import combinations

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measuring, finite
from circuit_tui.core.choices import Verdict
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.search.frontier import score

IDLE = 0.1
"""More than a tenth of the nodes each of which could go: the circuit is larger than what it shows."""


def minimality(subject: AuditedCircuit) -> Measuring:
    """Every node taken out alone, then the likeliest pairs."""
    nodes = [int(node) for node in subject.kept.nonzero()[:, 0]]
    if not nodes:
        return Finding("minimality", "not measured", "The circuit is empty.")
    train = subject.train
    live = LiveCircuit(train, subject.kept)
    own = train.baselines.faithfulness(live.measured.mean_logit_diff)
    reached = subject.target is not None and score(own) >= subject.target
    least = subject.target if reached and subject.target is not None else score(own)
    effect = {}
    for index, node in enumerate(nodes):
        effect[node] = own - train.baselines.faithfulness((yield from live.evaluate_without(node)))
        yield 0.3 * (index + 1) / len(nodes)
    single = [node for node in nodes if score(own - effect[node]) >= least]
    every = list(combinations(nodes, 2))
    # Effects add up nearly enough to say which pairs are the likeliest to go.
    every.sort(key=lambda pair: -score(own - effect[pair[0]] - effect[pair[1]]))
    tried, can_go = sorted(every[: subject.settings.pairs]), 0
    for index, (first, second) in enumerate(tried):
        without = subject.kept.clone()
        without[first] = False
        yield from live.advance_to(without)  # nothing to do for the next pair with the same first node
        can_go += score(train.baselines.faithfulness((yield from live.evaluate_without(second)))) >= least
        yield 0.3 + 0.7 * (index + 1) / len(tried)
    verdict: Verdict = "bad" if len(single) > IDLE * len(nodes) else "doubtful" if single or can_go else "good"
    of = f"all {len(every)}" if len(tried) == len(every) else f"the {len(tried)} likeliest of {len(every)}"
    return Finding(
        "minimality", verdict,
        f"With {least:.3f} to be kept on the search prompts, {len(single)} of {len(nodes)} nodes could go alone, and "
        f"{can_go} of {of} pairs: {_SAYS[verdict]}.",
        {
            "least": finite(least), "nodes": len(nodes), "single": len(single), "pairs": can_go,
            "pairs_tried": len(tried), "pairs_in_all": len(every),
        },
    )  # fmt: skip


_SAYS = {
    "good": "every node is needed",
    "doubtful": "it could be a little smaller",
    "bad": "it is larger than it need be",
}
