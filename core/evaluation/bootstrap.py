"""Bootstrap intervals over prompts: how far a number could lie from its value on other prompts of the same kind.

Faithfulness, completeness and the effect of a node are ratios of sums over prompts, sum_i a_i / sum_i b_i: for the
faithfulness of C, a_i = LD_i(C) - LD_i(0) and b_i = LD_i(M) - LD_i(0). A bootstrap sample draws as many clusters of
prompts as there are, with replacement, and takes the ratio of their sums (Efron 1979; of whole clusters, since twins
are no two independent prompts: Field & Welsh 2007). The interval is the range between the 2.5th and the 97.5th
percentile of these ratios (Efron & Tibshirani 1993, section 13.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

DRAWS = 2000
FEWEST_CLUSTERS = 4
"""From fewer clusters there are too few different samples for an interval."""
_VALUES_AT_ONCE = 2_000_000  # drawn cluster numbers in memory


def ratio_interval(
    above: Tensor, below: Tensor, cluster: Tensor, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float] | None:
    """Returns the 95% bootstrap interval of sum(above) / sum(below).

    Args:
        above: `[prompt]`, in the unit of `below`.
        below: `[prompt]`.
        cluster: `[prompt]` the number of each prompt's cluster, from 0 on (`cluster_sample.clusters`).
        draws: the number of bootstrap samples.
        seed: of the samples; the same seed draws the same ones.

    Returns:
        The ends of the interval; None from fewer than `FEWEST_CLUSTERS` clusters, or where a sample has no ratio.
    """
    n = int(cluster.max()) + 1 if len(cluster) else 0
    if n < FEWEST_CLUSTERS:
        return None
    above, below = (torch.zeros(n, dtype=torch.float64).index_add(0, cluster, part.double()) for part in (above, below))
    samples = _remembered_samples if n * draws <= _VALUES_AT_ONCE else _samples
    ratios = torch.cat([(counts @ above) / (counts @ below) for counts in samples(n, draws, seed)])
    if not bool(ratios.isfinite().all()):
        return None
    low, high = torch.quantile(ratios, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def _samples(n: int, draws: int, seed: int) -> Iterator[Tensor]:
    """Yields `draws` bootstrap samples part by part, `[sample, cluster]`: how often each of `n` clusters was drawn."""
    generator = torch.Generator().manual_seed(seed)
    for part in torch.arange(draws).split(max(1, _VALUES_AT_ONCE // n)):
        drawn = torch.randint(n, (len(part), n), generator=generator)
        ones = torch.ones(1, 1, dtype=torch.float64).expand_as(drawn)
        yield torch.zeros(len(part), n, dtype=torch.float64).scatter_add_(1, drawn, ones)


@lru_cache(maxsize=2)
def _remembered_samples(n: int, draws: int, seed: int) -> tuple[Tensor, ...]:
    """Returns what `_samples` yields. Every toggle asks for the same samples, and drawing them takes milliseconds."""
    return tuple(_samples(n, draws, seed))
