"""The limits of the audit for numbers that every circuit has, and the verdicts on them. No torch: a screen uses them.

Each pair is (good, doubtful): good up to and including the first, doubtful up to and including the second, else bad.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from circuit_tui.core.audit.finding import grade, worst_verdict
from circuit_tui.core.choices import Verdict

if TYPE_CHECKING:
    from circuit_tui.core.views import Metrics

FAITHFULNESS_LIMITS = 0.1, 0.25
"""|1 - f| on held-out prompts: nine tenths of the behaviour, three quarters."""
COMPLETENESS_LIMITS = 0.2, 0.5
"""|completeness|: a fifth of the behaviour is left, and half. Below 0 the other nodes work against the behaviour."""
KL_LIMITS = 0.1, 1.0
"""KL(M || circuit) in nats: a tenth is hard to see; at one, the predictions are different."""
KL_SHARE_LIMITS = 0.1, 0.5
"""KL as a share of the empty circuit's: at one half, half of the prediction is not explained."""
DISAGREEMENT_LIMITS = 0.05, 0.15
"""Share of prompts with another answer: one in twenty, one in seven. A coin disagrees on half."""
ATTRIBUTION_LIMITS = 0.1, 0.3
"""1 - rank correlation of attribution with exact effects. At 0.7 attribution orders three of four pairs of edges as the
exact effects do (Kendall's tau is about 0.5 there), at 0.9 six of seven."""


def metric_verdicts(test: Metrics, plain: Metrics, empty: Metrics, target: float | None = None) -> dict[str, Verdict]:
    """Returns a verdict on each of a circuit's held-out numbers, by the limits of the audit.

    An audit may be stricter: it measures more. Accuracy is judged by how far it is from the model's, which is the least
    share of prompts on which the two can disagree.

    Args:
        test: the circuit's numbers.
        plain: those of M.
        empty: those of the empty circuit.
        target: the faithfulness that the circuit should have; a score below it is doubtful at best.

    Returns:
        The verdicts by the names of `Metrics`; ``not measured`` for a completeness that is not known yet.
    """
    off = abs(1 - test.faithfulness)
    missed = target is not None and 1 - off < target
    completeness = test.completeness
    return {
        "faithfulness": worst_verdict(grade(off, *FAITHFULNESS_LIMITS), "doubtful" if missed else "good"),
        "completeness": "not measured" if completeness is None else grade(abs(completeness), *COMPLETENESS_LIMITS),
        "kl": worst_verdict(
            grade(test.kl, *KL_LIMITS), grade(test.kl / empty.kl, *KL_SHARE_LIMITS) if empty.kl > 0 else "good"
        ),
        "accuracy": grade(abs(plain.accuracy - test.accuracy), *DISAGREEMENT_LIMITS),
    }
