"""Could the circuit be smaller? Counts the single nodes and the pairs of nodes that could go.

A node, or a pair, can go if the circuit without it still does what was asked for on the search prompts: all of it,
where the search had to hold more than faithfulness. If the circuit reaches its target, its score (`search/judge.py`,
for faithfulness alone 1 - |1 - f|) must stay at the target; if it does not, the score must not fall by more than
`ROUNDING`.
"""

from __future__ import annotations

from itertools import combinations, groupby
from operator import itemgetter

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measurement, finite
from circuit_tui.core.choices import Verdict
from circuit_tui.core.evaluation.many_circuits import toggled
from circuit_tui.core.search.frontier import score
from circuit_tui.core.search.judge import Judge, Judgement
from circuit_tui.core.search.judged_circuit import JudgedCircuit

MAX_REMOVABLE_SHARE = 0.1
"""If more than this share of the nodes could each go alone, the circuit is larger than it need be."""

ROUNDING = 1e-4
"""The score of a circuit that misses its target may fall by this much.

A node that does nothing leaves such a score where it is, and with it exactly at the least that is allowed: without this
the last bits would decide, which differ from processor to processor. In float32 two ways to compute one faithfulness
agree to 1e-5 (`tests/core/`); this is ten times that, and less than the third decimal, the last that is shown.
"""


def minimality(audited: AuditedCircuit) -> Measurement:
    """Takes out every node alone, then the likeliest pairs."""
    nodes = [int(node) for node in audited.kept.nonzero()[:, 0]]
    if not nodes:
        return Finding("minimality", "not measured", "The circuit is empty.")
    judge = Judge(audited.search, audited.train)
    yield from judge.prepare()
    judged = JudgedCircuit(judge, audited.kept)
    own = judged.judgement
    reached = audited.target is not None and own.score >= audited.target
    least = audited.target if reached and audited.target is not None else own.score - ROUNDING
    without_one = dict[int, Judgement]()
    while left := nodes[len(without_one) :]:
        judgements = yield from judged.judge_first_toggled(left, least)
        without_one |= zip(left, judgements, strict=False)
        yield 0.3 * len(without_one) / len(nodes)
    removable = [node for node in nodes if without_one[node].score >= least]

    def expected(pair: tuple[int, int]) -> float:
        """The score without both, as it would be if effects added up, which they nearly do."""
        one, other = (without_one[node] for node in pair)
        if judge.alone:
            return score(one.faithfulness + other.faithfulness - own.faithfulness)
        return one.score + other.score - own.score

    pairs = sorted(combinations(nodes, 2), key=lambda pair: -expected(pair))
    tried, done, removable_pairs = sorted(pairs[: audited.settings.pairs]), 0, 0
    for first, with_first in groupby(tried, key=itemgetter(0)):
        yield from judged.advance_to(toggled(audited.kept, [first])[0])
        seconds = [second for _, second in with_first]
        while seconds:
            judgements = yield from judged.judge_first_toggled(seconds, least)
            removable_pairs += sum(judgement.score >= least for judgement in judgements)
            seconds, done = seconds[len(judgements) :], done + len(judgements)
            yield 0.3 + 0.7 * done / len(tried)
    verdict: Verdict = "good"
    if len(removable) > MAX_REMOVABLE_SHARE * len(nodes):
        verdict = "bad"
    elif removable or removable_pairs:
        verdict = "doubtful"
    kept_in = "" if judge.alone else " in all that was held"
    all_pairs = f"all {len(pairs)}" if len(tried) == len(pairs) else f"the {len(tried)} likeliest of {len(pairs)}"
    return Finding(
        "minimality", verdict,
        f"With {least:.3f} to be kept{kept_in} on the search prompts, {len(removable)} of {len(nodes)} nodes could go "
        f"alone, and {removable_pairs} of {all_pairs} pairs: {_MEANING[verdict]}.",
        {
            "least": finite(least), "nodes": len(nodes), "single": len(removable),
            "pairs": removable_pairs,
            "pairs_tried": len(tried), "pairs_in_all": len(pairs),
        },
    )  # fmt: skip


_MEANING = {
    "good": "every node is needed",
    "doubtful": "it could be a little smaller",
    "bad": "it is larger than it need be",
}
