"""The circuit that is returned where none reached the target: the smallest that the prompts cannot tell from the best.

The last nodes that a search adds often raise the score by less than the score would move on other prompts. A circuit c
is not told from the best circuit b if its score is lower by at most half the width of the 95% bootstrap interval, over
the search prompts, of f(b) - f(c). The difference is taken prompt by prompt, so that what is hard for both cancels. If
more than faithfulness is held, it is the difference in the condition that is worst for c.
"""

from __future__ import annotations

from typing import Any

from circuit_tui.core.evaluation.metrics import PromptMetrics
from circuit_tui.core.runtime.incremental import Increments
from circuit_tui.core.search.frontier import EvaluatedCircuit
from circuit_tui.core.search.method import SearchMethod


def smallest_within_resolution(attempt: SearchMethod[Any], best: EvaluatedCircuit) -> Increments[EvaluatedCircuit]:
    """Returns the smallest circuit of the frontier of `attempt` that its search prompts do not tell from `best`.

    The frontier's scores rise with its sizes, so its circuits are bisected. With too few prompts for an interval it is
    `best`.
    """
    smaller = [circuit for circuit in attempt.offered.frontier() if circuit.size < best.size]
    if not smaller:
        return best
    measured = yield from _measure(attempt, best)
    found, first, stop = best, 0, len(smaller)
    while first < stop:
        middle = (first + stop) // 2
        others = yield from _measure(attempt, smaller[middle])
        half = attempt.judge.resolution(measured, others)
        if half is not None and best.score - smaller[middle].score <= half:
            found, stop = smaller[middle], middle
        else:
            first = middle + 1
    return found


def _measure(attempt: SearchMethod[Any], circuit: EvaluatedCircuit) -> Increments[list[PromptMetrics]]:
    """The run of `circuit` under each ablation."""
    measured = []
    for evaluator in attempt.judge.evaluators:
        measured.append((yield from evaluator.measure(circuit.kept)))
    return measured
