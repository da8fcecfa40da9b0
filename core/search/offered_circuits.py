"""The hard circuits that a search has evaluated: the best of each size, and the one it would return."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.search.frontier import EvaluatedCircuit, undominated
from circuit_tui.core.search.frontier import score as score_of_faithfulness


class OfferedCircuits:
    """What a search has found so far.

    Args:
        target: the score that counts as reached.
        n_nodes: the number of candidate nodes.

    Attributes:
        best: the circuit that would be returned now: the smallest that reaches the target, or else the one with the
            highest score. None before the first offer.
        latest: the faithfulness of the circuit offered last, None before the first.
    """

    def __init__(self, target: float, n_nodes: int) -> None:
        self._target, self._n_nodes = target, n_nodes
        self._by_size: dict[int, EvaluatedCircuit] = {}
        self.best: EvaluatedCircuit | None = None
        self.latest: float | None = None

    def add(self, kept: Tensor, faithfulness: float, score: float) -> None:
        """Records the hard circuit `kept` `[node]` bool with its exact faithfulness and score on the search prompts."""
        circuit = EvaluatedCircuit(int(kept.sum()), faithfulness, kept.clone(), score)
        self.latest = faithfulness
        known = self._by_size.get(circuit.size)
        if known is None or score > known.score:
            self._by_size[circuit.size] = circuit
        if self.best is None or self._rank(circuit) < self._rank(self.best):
            self.best = circuit

    def of_size(self, size: int) -> EvaluatedCircuit | None:
        """The best circuit of `size` nodes, None if none was offered."""
        return self._by_size.get(size)

    def frontier(self) -> list[EvaluatedCircuit]:
        """The circuits that no smaller one betters, ascending in size, also beyond the size of `best`."""
        return undominated(self._by_size.values())

    def _rank(self, circuit: EvaluatedCircuit) -> tuple[int, float, float]:
        """Smaller is better: circuits that reach the target by size, then score; all others after them by score."""
        value = circuit.score
        return (0, circuit.size, -value) if value >= self._target else (1, -value, circuit.size)

    def state_dict(self) -> dict[str, Any]:
        """All that was offered; a circuit is stored as its node numbers."""
        points = [(size, one.faithfulness, _numbers(one.kept), one.score) for size, one in self._by_size.items()]
        best = None if self.best is None else (_numbers(self.best.kept), self.best.faithfulness, self.best.score)
        return {"hard": self.latest, "best": best, "points": points}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.latest = state["hard"]
        self.best = None if state["best"] is None else self._circuit(*state["best"])
        self._by_size = {size: self._circuit(nodes, value, *rest) for size, value, nodes, *rest in state["points"]}

    def _circuit(self, nodes: Tensor, faithfulness: float, score: float | None = None) -> EvaluatedCircuit:
        """The stored circuit. Without `score` it is of a version that knew faithfulness alone."""
        kept = torch.zeros(self._n_nodes, dtype=torch.bool).index_fill_(0, nodes, True)
        return EvaluatedCircuit(
            len(nodes), faithfulness, kept, score_of_faithfulness(faithfulness) if score is None else score
        )


def _numbers(kept: Tensor) -> Tensor:
    return kept.nonzero()[:, 0]
