"""Estimates the mean over all prompts from a random sample of whole clusters of prompts, with its standard error.

A cluster is the prompts that are made of the same two texts: twins, of which one has as its corrupt prompt what the
other has as its clean one. Their moves cancel in part (in the empty circuit their logit differences are opposite), so a
sample that took one without the other would scatter far more. Where a task has no twins each prompt is a cluster.

The clusters are a simple random sample without replacement. With n_c prompts in cluster c, t_c the sum over them of
the change y' - y to be estimated, x_c the sum of an auxiliary value that is known of all prompts, and bars for means
per prompt, the mean change is estimated by regression (Cochran 1977, sections 7.1 to 7.3, in clusters of unequal
sizes, chapter 9A)

    D = t + b (X - x),    b = sum (x_c - n_c x) t_c / n_c  /  sum (x_c - n_c x)^2 / n_c,

with t and x the means over the sample and X that over all prompts. With b = 0 this is the ratio-to-size estimator of a
difference. D is linear in the sums, D = sum g_c t_c, and with f the sampled share of the clusters (the finite
population correction, section 2.6) its variance is taken to be

    V = (1 - f) (sum v_c + max v_c),    v_c = (g_c e_c / (1 - h_c))^2,

where e_c is the residual of a cluster and h_c its leverage: the jackknife for regressions (HC3, MacKinnon & White
1985). The largest term counts twice: changes are skewed.

No sample tells what it has not met. A latent may fire on few prompts, and a node may matter only where another one is
silent. So an interval reaches at least as far as clusters that the sample has missed could carry the mean. With s_c the
sum of how far the change moves each prompt at its site (`change_size.py`, known of all prompts), r the largest
|t_c| / s_c and s the largest s_c of the sample, n its number of clusters, and N that of prompts,

    U = r / N (p sum min(s_c, s) + sum max(s_c - s, 0)),    p = 1 - 0.05^(1/n),

summed over the clusters outside the sample. p is the largest share of the clusters that a sample misses altogether with
a probability of 5% (the "rule of three", Hanley & Lippman-Hand 1983); there the change may act as strongly as where it
acts most. Prompts that it moves further than any of the sample are all taken to be such. Where nothing moves, nothing
changes, and that is exact; where only prompts outside the sample move, or s_c is unknown, U is infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.tasks.task import Pair

FEWEST_CLUSTERS = 4
# A cluster that alone decides about the slope has no residual to judge it by: then there is none.
LARGEST_LEVERAGE = 0.98

_NORMAL_QUANTILE = 1.959964


@dataclass(frozen=True, slots=True)
class MeanEstimate:
    """An estimated mean over all prompts.

    Attributes:
        values: `[prompt]` float64, exact on the sample and predicted elsewhere; their mean is the estimate.
        mean: the estimate.
        standard_error: of `mean`, in its unit.
        degrees: degrees of freedom of the standard error.
        unmet: how far clusters that the sample has not met could carry the mean, U; infinite where it met no change.
    """

    values: Tensor
    mean: float
    standard_error: float
    degrees: int
    unmet: float

    @property
    def half_width(self) -> float:
        """Half width of the 95% interval of `mean`."""
        return max(t_quantile(self.degrees) * self.standard_error, self.unmet)


def clusters(pairs: Sequence[Pair]) -> Tensor:
    """Returns the number of the cluster of each prompt, `[prompt]` int64: equal where clean and corrupt are the same.

    The same also if one has as its clean prompt what the other has as its corrupt one.
    """
    numbers: dict[tuple[str, ...], int] = {}
    keys = (tuple(sorted((pair.clean, pair.corrupt))) for pair in pairs)
    return torch.tensor([numbers.setdefault(key, len(numbers)) for key in keys])


class ClusterSample:
    """A random sample of whole clusters of at most `size` prompts.

    Attributes:
        where: `[sample]` indices of the sampled prompts, ascending.
    """

    def __init__(self, cluster: Tensor, size: int, seed: int = 0) -> None:
        """`cluster` `[prompt]` is the number of each prompt's cluster, from 0 on.

        Raises:
            ValueError: fewer than `FEWEST_CLUSTERS` clusters have at most `size` prompts.
        """
        sizes = torch.bincount(cluster)
        order = torch.randperm(len(sizes), generator=torch.Generator().manual_seed(seed))
        chosen = order[sizes[order].cumsum(0) <= size]
        if len(chosen) < FEWEST_CLUSTERS:
            raise ValueError(f"{size} prompts are {len(chosen)} clusters, at least {FEWEST_CLUSTERS} are needed")
        self.where = torch.isin(cluster, chosen).nonzero()[:, 0]
        self._share = len(chosen) / len(sizes)
        self._cluster, self._drawn = cluster, torch.isin(torch.arange(len(sizes)), chosen)
        _, self._row = cluster[self.where].unique(return_inverse=True)
        self._sizes = self._sums(torch.ones(len(self.where), dtype=torch.float64))

    def estimate(self, known: Tensor, seen: Tensor, auxiliary: Tensor, moved: Tensor | None) -> MeanEstimate:
        """Estimates the mean of a quantity that is `seen` `[sample]` on the sample.

        Args:
            known: `[prompt]` the same quantity before the change.
            seen: `[sample]` the quantity, in the order of `where`.
            auxiliary: `[prompt]` what the change may be in proportion to.
            moved: `[prompt]` how far the change moves each prompt where it sets in, at least 0; None where unknown.
        """
        known, seen, auxiliary = known.double(), seen.double(), auxiliary.double()
        n, sizes = len(self.where), self._sizes
        change, other = seen - known[self.where], auxiliary[self.where]
        centre = float(other.mean())
        sums, deviations = self._sums(change), self._sums(other - centre)
        spread = float((deviations**2 / sizes).sum())
        leverage, weights = sizes / n, torch.full_like(sizes, 1 / n)
        slope, degrees = 0.0, len(sizes) - 1
        if spread > 1e-12 * float((other**2).sum()):
            with_slope = leverage + deviations**2 / sizes / spread
            if float(with_slope.max()) <= LARGEST_LEVERAGE:
                slope, degrees = float((deviations * sums / sizes).sum()) / spread, degrees - 1
                leverage = with_slope
                weights = weights + (float(auxiliary.mean()) - centre) * deviations / sizes / spread
        mean_change = float(change.mean())
        residuals = sums - sizes * mean_change - slope * deviations
        terms = (weights * residuals / (1 - leverage)) ** 2
        error = math.sqrt((1 - self._share) * float(terms.sum() + terms.max()))
        values = known + mean_change + slope * (auxiliary - centre)
        values[self.where] = seen
        return MeanEstimate(values, float(values.mean()), error, degrees, self._unmet(sums, moved))

    def _unmet(self, sums: Tensor, moved: Tensor | None) -> float:
        """Returns U for changes that sum to `sums` `[sampled cluster]` and move prompts by `moved` `[prompt]`."""
        if moved is None:
            return math.inf
        sizes = torch.zeros(len(self._drawn), dtype=torch.float64).index_add(0, self._cluster, moved.double())
        met, others = sizes[self._drawn], sizes[~self._drawn]
        if not others.any():
            return 0.0
        if not met.any():
            return math.inf
        strongest, furthest = float((sums.abs() / met)[met > 0].max()), float(met.max())
        share = 1 - 0.05 ** (1 / len(met))
        far = share * others.clamp(max=furthest).sum() + (others - furthest).clamp(min=0).sum()
        return strongest * float(far) / len(moved)

    def _sums(self, values: Tensor) -> Tensor:
        """Sums `[cluster]` of `values` `[sample]`."""
        return torch.zeros(int(self._row.max()) + 1, dtype=torch.float64).index_add(0, self._row, values)


def t_quantile(degrees: int) -> float:
    """The 97.5% quantile of Student's t, within 1% from 2 degrees of freedom on (Abramowitz & Stegun 26.7.5)."""
    z = _NORMAL_QUANTILE
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum((term / float(degrees**power) for power, term in enumerate(terms)), 0.0)
