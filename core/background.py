"""Numbers of the current circuit that can wait: completeness, the train split, and the effect of every kept node.

Each slice is one short evaluation. A new circuit makes all of it stale.
"""

from __future__ import annotations

from circuit_tui.core.evaluate import Evaluator, LiveCircuit
from circuit_tui.core.snapshot import Metrics


class Background:
    """The waiting numbers of one circuit.

    Attributes:
        test: test metrics; its completeness is None until computed.
        train: train metrics, None until computed.
        effects: for each kept node its exact effect, None until computed: the drop of test faithfulness without it.
    """

    def __init__(self, live: LiveCircuit, train: Evaluator) -> None:
        self._live, self._train = live, train
        self.test: Metrics = live.evaluator.baselines.summarise(live.measured)
        self.train: Metrics | None = None
        self.effects: dict[int, float] = {}
        self._left = [int(node) for node in live.kept.nonzero()[:, 0]][::-1]

    @property
    def done(self) -> bool:
        """Whether nothing is left to compute."""
        return self.test.completeness is not None and self.train is not None and not self._left

    def slice(self) -> None:
        """Computes one more number."""
        live = self._live
        baselines = live.evaluator.baselines
        if self.test.completeness is None:
            removed = live.evaluator.measure_removed(live.kept)
            self.test = baselines.with_completeness(self.test, removed)
        elif self.train is None:
            self.train = self._train.evaluate(live.kept)
        elif self._left:
            node = self._left.pop()
            without = baselines.faithfulness(live.logit_difference_without(node))
            self.effects[node] = self.test.faithfulness - without
