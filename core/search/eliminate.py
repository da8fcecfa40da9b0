"""Exact backward elimination: drops single nodes as long as the circuit still reaches the target.

Every drop is tried for real on all search prompts, in order of the damage it did when last tried, until a whole round has
succeeded with none. So in the end no single node can be dropped.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from circuit_tui.core.evaluate import LiveCircuit
from circuit_tui.core.search.search import Search


class Elimination:
    """Backward elimination of one circuit on the search prompts.

    Attributes:
        live: the circuit, always exactly evaluated.
        without: last known faithfulness without each kept node.
    """

    def __init__(self, search: Search, kept: Tensor) -> None:
        self.search = search
        self.live = LiveCircuit(search.train, kept)
        self.without: dict[int, float] = {}

    @property
    def faithfulness(self) -> float:
        return self.search.train.baselines.faithfulness(self.live.measured.mean_logit_diff)

    @property
    def nodes(self) -> list[int]:
        return [int(node) for node in self.live.kept.nonzero()[:, 0]]

    def faithfulness_without(self, node: int) -> float:
        """Exact faithfulness of the circuit without `node`; remembered in `without`."""
        value = self.search.train.baselines.faithfulness(self.live.logit_difference_without(node))
        self.without[node] = value
        return value

    def set(self, node: int, on: bool) -> None:
        """Adds or drops one node."""
        kept = self.live.kept.clone()
        kept[node] = on
        self.live.change(kept)
        if not on:
            self.without.pop(node, None)

    def to_minimal(self) -> Iterator[None]:
        """Drops nodes until none can go without missing the target; yields after each trial."""
        search = self.search
        if not search.reaches(self.faithfulness):
            return
        search.offer(self.live.kept, self.faithfulness)
        dropped = True
        while dropped and not search.stopped:
            dropped = False
            order = sorted(self.nodes, key=lambda node: -search.score(self.without.get(node, 1.0)))
            for node in order:
                if search.stopped:
                    return
                if search.reaches(self.faithfulness_without(node)):
                    self.set(node, False)
                    search.offer(self.live.kept, self.faithfulness)
                    dropped = True
                yield

    def below_target(self) -> Iterator[None]:
        """Goes on dropping whatever hurts least, down to one node, for the frontier; yields after each trial.

        Nodes whose effects are known from the last round go together, a tenth of the circuit at a time.
        """
        search = self.search
        while len(self.nodes) > 1 and not search.stopped:
            for node in self.nodes:
                if search.stopped:
                    return
                self.faithfulness_without(node)
                yield
            batch = max(1, len(self.nodes) // 10)
            kept = self.live.kept.clone()
            for node in sorted(self.nodes, key=lambda node: -search.score(self.without[node]))[:batch]:
                kept[node] = False
                self.without.pop(node)
            self.live.change(kept)
            search.offer(self.live.kept, self.faithfulness)
            yield


