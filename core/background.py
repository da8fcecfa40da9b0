"""Numbers of the current circuit that can wait: completeness, the train split, and the effect of every kept node.

Each slice is one batch of prompts from one site to the next. A new circuit makes all of it stale.
"""

from __future__ import annotations

from circuit_tui.core.evaluate import Evaluator, LiveCircuit, Slices
from circuit_tui.core.snapshot import Metrics


class Background:
    """The waiting numbers of one circuit.

    Attributes:
        test: test metrics; its completeness is None until computed.
        train: train metrics, None until computed.
        effects: for each kept node computed so far its exact effect: the drop of test faithfulness without it.
        done: whether nothing is left to compute.
    """

    def __init__(self, live: LiveCircuit, train: Evaluator) -> None:
        self._live, self._train = live, train
        self.test: Metrics = live.evaluator.baselines.summarise(live.measured)
        self.train: Metrics | None = None
        self.effects: dict[int, float] = {}
        self._run = self._compute()
        self.done = False

    def slice(self) -> None:
        """Computes a little more: one batch of prompts from one site to the next."""
        self.done = next(self._run, True) is True

    def _compute(self) -> Slices[None]:
        live, evaluator = self._live, self._live.evaluator
        self.test = yield from evaluator.completeness_slices(self.test, live.kept)
        self.train = yield from self._train.evaluate_slices(live.kept)
        for node in live.kept.nonzero()[:, 0].tolist():
            difference = yield from live.without_slices(node)
            self.effects[node] = self.test.faithfulness - evaluator.baselines.faithfulness(difference)
