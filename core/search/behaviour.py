"""The loss of the methods that learn gates: how far a masked run is from what M does."""

from __future__ import annotations

from torch import Tensor

PER_PROMPT_WEIGHT = 0.3


def behaviour_error(logit_difference: Tensor, plain: Tensor, gap: float) -> Tensor:
    """Error of the logit differences `[prompt]` against those of M, in units of faithfulness.

    |mean e| / gap + 0.3 mean |e| / gap,  e = LD(masked) - LD(M),  gap = m(M) - m(empty)

    The first term is |1 - faithfulness|, the published loss; the second keeps errors of single prompts from cancelling.
    """
    error = logit_difference - plain
    return (error.mean().abs() + PER_PROMPT_WEIGHT * error.abs().mean()) / abs(gap)
