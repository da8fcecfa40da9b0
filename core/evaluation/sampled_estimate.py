"""A first answer where an exact one takes long: a change tried on a sample of the prompts.

What the change does to the sample is known exactly, and what it does to all prompts is estimated from that
(`cluster_sample.py`). The auxiliary value is how far a prompt would move if the circuit became the empty one: a
switched node undoes or restores a share of that. The spread between prompts, which is large, cancels in the difference.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from statistics import median

from torch import Tensor

from circuit_tui.core.evaluation.cluster_sample import ClusterSample, MeanEstimate, t_quantile
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.evaluation.metrics import Baselines, PromptMetrics
from circuit_tui.core.views import Metrics, StandardErrors

# Seconds a toggle may take before an estimate is worth while, and those that the estimate should take.
EXACT_WITHIN = 0.05
ESTIMATE_WITHIN = 0.025
FEWEST_PROMPTS = 8
REMEMBERED = 5
# An estimate that may be off by more than this, to 95% confidence, is not shown; in nats for KL.
WIDEST = 0.05
# Half of the last decimal that is shown: no standard error is smaller.
RESOLUTION = 0.0005


class Pace:
    """How long an evaluation takes, learnt from the last few: in proportion to the blocks that are run again."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)

    def record(self, blocks: int, seconds: float) -> None:
        """An evaluation that ran `blocks` blocks took `seconds`."""
        self._seconds.append(seconds / (blocks + 1))  # one more for the unembedding and what each evaluation costs

    def predict(self, blocks: int) -> float:
        """Seconds that an evaluation of `blocks` blocks will take: the median, since one can be held up by chance."""
        return median(self._seconds) * (blocks + 1) if self._seconds else 0.0


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Standard error, and half width of the 95% interval (Student's t), of an estimated number, in its unit.

    Where the half width is what prompts outside the sample could do, the standard error is the one that belongs to it.
    """

    standard_error: float
    half_width: float

    @classmethod
    def of(cls, estimate: MeanEstimate, unit: float = 1.0) -> Uncertainty:
        """The uncertainty of `estimate` in multiples of `unit`; nan where that is 0."""
        if not unit:
            return cls(math.nan, math.nan)
        error, quantile = math.hypot(estimate.standard_error / unit, RESOLUTION), t_quantile(estimate.degrees)
        half_width = max(quantile * error, estimate.unmet / abs(unit))
        return cls(half_width / quantile, half_width)

    @property
    def shown_error(self) -> float | None:
        """The standard error, None if the number may be off by more than `WIDEST`."""
        return self.standard_error if self.half_width <= WIDEST else None


@dataclass(frozen=True, slots=True)
class SampledMetrics:
    """Estimated metrics of a circuit, with the uncertainty of the numbers that the screen shows."""

    metrics: Metrics
    faithfulness: Uncertainty
    faithfulness_spliced: Uncertainty
    kl: Uncertainty

    @property
    def errors(self) -> StandardErrors:
        """The standard errors of the numbers that are certain enough to be shown."""
        return StandardErrors(self.faithfulness.shown_error, self.faithfulness_spliced.shown_error, self.kl.shown_error)


class Probe:
    """A fixed sample of the prompts of `evaluator` that follows a circuit, `[node]` bool, through its changes."""

    def __init__(self, evaluator: Evaluator, kept: Tensor, sample: ClusterSample) -> None:
        self.sample, self._baselines = sample, evaluator.baselines
        prompts = evaluator.prompts[sample.where.to(evaluator.prompts.device)]
        self._live = LiveCircuit(Evaluator(evaluator.problem, evaluator.split, prompts), kept)

    def estimate(self, known: PromptMetrics, kept: Tensor, moved: Tensor | None) -> SampledMetrics:
        """Estimates the metrics of the circuit `kept` from those `known`, prompt by prompt, of another circuit.

        `moved` `[prompt]` is how far the change moves each prompt (`LiveCircuit.change_sizes`).
        """
        self._live.advance_to(kept).result()
        return estimate_metrics(self.sample, self._baselines, known, self._live.measured, moved)


def cluster_sample(evaluator: Evaluator, size: int, seed: int = 0) -> ClusterSample | None:
    """Draws at most `size` of the prompts of `evaluator`, whole clusters; None if they are too few clusters."""
    try:
        return ClusterSample(evaluator.cluster, size, seed)
    except ValueError:
        return None


def estimate_metrics(
    sample: ClusterSample, baselines: Baselines, known: PromptMetrics, seen: PromptMetrics, moved: Tensor | None
) -> SampledMetrics:
    """Estimates metrics over all prompts.

    Args:
        sample: the prompts that were run.
        baselines: M, M_s and the empty circuit on all prompts.
        known: all prompts before the change.
        seen: the sampled prompts after it, in the order of `sample.where`.
        moved: `[prompt]` how far it moves each prompt where it sets in; None where unknown.
    """
    empty = baselines.empty
    logit_diff = sample.estimate(known.logit_diff, seen.logit_diff, empty.logit_diff - known.logit_diff, moved)
    kl = sample.estimate(known.kl, seen.kl, empty.kl - known.kl, moved)
    way = empty.cross_entropy - known.cross_entropy
    cross_entropy = sample.estimate(known.cross_entropy, seen.cross_entropy, way, moved)
    metrics = baselines.summarise(PromptMetrics(logit_diff.values, kl.values, cross_entropy.values))
    return SampledMetrics(
        metrics=replace(metrics, kl=max(0.0, kl.mean), cross_entropy=max(0.0, cross_entropy.mean)),
        faithfulness=Uncertainty.of(logit_diff, baselines.gap),
        faithfulness_spliced=Uncertainty.of(logit_diff, baselines.gap_spliced),
        kl=Uncertainty.of(kl),
    )


def sample_size(n_prompts: int, seconds: float) -> int | None:
    """How many of `n_prompts` prompts, which take `seconds`, can be had at once; None if no sample is worth while."""
    if seconds <= EXACT_WITHIN or n_prompts < 2 * FEWEST_PROMPTS:
        return None
    return min(max(FEWEST_PROMPTS, int(n_prompts * ESTIMATE_WITHIN / seconds)), n_prompts // 2)
