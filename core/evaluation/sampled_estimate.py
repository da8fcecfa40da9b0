"""A first answer where an exact one takes long: a change tried on a sample of the prompts.

With y_i what is measured of prompt i under a circuit whose numbers are known, y'_i the same under the changed one, and
S the sample, every prompt outside of S is taken to move by the mean move of S,

    y'_i  ~  y_i + mean over S of (y'_j - y_j),

so that the mean over all prompts is the difference estimator of survey sampling (Cochran 1977, chapter 7, with slope
1). One switched node moves all prompts much alike: their spread, which is large, cancels.
"""

from __future__ import annotations

from collections import deque
from statistics import median

import torch
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.evaluation.metrics import PromptMetrics

# Seconds a toggle may take before an estimate is worth while, and those that the estimate should take.
EXACT_WITHIN = 0.05
ESTIMATE_WITHIN = 0.025
FEWEST_PROMPTS = 8
REMEMBERED = 5


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


class Probe:
    """A fixed sample of the prompts of `evaluator` that follows a circuit, `[node]` bool, through its changes.

    Attributes:
        where: `[sample]` indices of the sample among the prompts, ascending.
    """

    def __init__(self, evaluator: Evaluator, kept: Tensor, size: int) -> None:
        order = torch.randperm(len(evaluator), generator=torch.Generator().manual_seed(0))
        self.where = order[:size].sort()[0]
        prompts = evaluator.prompts[self.where.to(evaluator.prompts.device)]
        self._live = LiveCircuit(Evaluator(evaluator.problem, evaluator.split, prompts), kept)

    def estimate(self, known: PromptMetrics, kept: Tensor) -> PromptMetrics:
        """Per-prompt metrics of the circuit `kept`, exact on the sample, from those `known` of another circuit."""
        self._live.advance_to(kept).result()
        seen = self._live.measured
        return PromptMetrics(
            self._moved(known.logit_diff, seen.logit_diff),
            self._moved(known.kl, seen.kl).clamp(min=0),
            self._moved(known.cross_entropy, seen.cross_entropy).clamp(min=0),
        )

    def _moved(self, known: Tensor, seen: Tensor) -> Tensor:
        moved = known + (seen - known[self.where]).mean()
        moved[self.where] = seen
        return moved


def sample_size(n_prompts: int, seconds: float) -> int | None:
    """How many of `n_prompts` prompts, which take `seconds`, can be had at once; None if no sample is worth while."""
    if seconds <= EXACT_WITHIN or n_prompts < 2 * FEWEST_PROMPTS:
        return None
    return min(max(FEWEST_PROMPTS, int(n_prompts * ESTIMATE_WITHIN / seconds)), n_prompts // 2)
