"""The k nodes with the highest scores as a hard mask, with the gradient of a soft choice of k."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _TopK(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, k: int, width: float) -> Tensor:
        chosen = torch.zeros_like(scores)
        best = scores.topk(min(k + 1, len(scores)))
        chosen[best.indices[:k]] = 1.0
        # Half way between the last node that is kept and the first that is not.
        threshold = best.values[-2:].mean() if k < len(scores) else best.values[-1] - width
        soft = torch.sigmoid((scores - threshold) / width)
        ctx.save_for_backward(4 * soft * (1 - soft))
        return chosen

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        mean = (slope * grad).sum() / slope.sum().clamp(min=1e-12)
        return slope * (grad - mean), None, None


def top_k_mask(scores: Tensor, k: int, width: float) -> Tensor:
    """1.0 for the `k` largest of `scores` `[node]`, 0.0 for the others.

    The gradient is that of m_i = sigmoid((s_i - t) / width), with a threshold t that moves with the scores so that the
    sum of m stays the same,

        dL/ds_i = g_i (dL/dm_i - sum_j g_j dL/dm_j / sum_j g_j),   g_i the slope of the sigmoid at s_i,

    scaled by 4 width, so that the slope at the threshold is 1. A gain that all nodes share moves none of them.
    """
    result: Tensor = _TopK.apply(scores, k, width)  # type: ignore[no-untyped-call]
    return result
