"""The circuit that is returned where none reached the target: the smallest that the prompts cannot tell from the best.

The last nodes that a search adds often raise the score by less than the score would move on other prompts. A circuit c
is not told from the best circuit b if its score is lower by at most half the width of the 95% bootstrap interval, over
the search prompts, of f(b) - f(c). The difference is taken prompt by prompt, so that what is hard for both cancels.
"""

from __future__ import annotations

from typing import Any

from circuit_tui.core.evaluation.metrics import PromptMetrics
from circuit_tui.core.runtime.incremental import Increments
from circuit_tui.core.search.frontier import EvaluatedCircuit, score
from circuit_tui.core.search.method import SearchMethod


def smallest_within_resolution(attempt: SearchMethod[Any], best: EvaluatedCircuit) -> Increments[EvaluatedCircuit]:
    """Returns the smallest circuit of the frontier of `attempt` that its search prompts do not tell from `best`.

    The frontier's scores rise with its sizes, so its circuits are bisected. With too few prompts for an interval it is
    `best`.
    """
    smaller = [circuit for circuit in attempt.offered.frontier() if circuit.size < best.size]
    if not smaller:
        return best
    measured = yield from attempt.train.measure(best.kept)
    found, first, stop = best, 0, len(smaller)
    while first < stop:
        middle = (first + stop) // 2
        others = yield from attempt.train.measure(smaller[middle].kept)
        half = _half_width(attempt, measured, others)
        if half is not None and score(best.faithfulness) - score(smaller[middle].faithfulness) <= half:
            found, stop = smaller[middle], middle
        else:
            first = middle + 1
    return found


def _half_width(attempt: SearchMethod[Any], best: PromptMetrics, other: PromptMetrics) -> float | None:
    """Half the width of the 95% interval of the difference in faithfulness of two runs; None if there is none."""
    interval = attempt.train.interval(best.logit_diff - other.logit_diff)
    return None if interval is None else (interval[1] - interval[0]) / 2
