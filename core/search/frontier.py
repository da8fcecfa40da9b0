"""Which of the circuits that a search has evaluated are on its frontier: those that no smaller circuit betters.

No torch: comparisons of finished runs use `score` without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class EvaluatedCircuit(NamedTuple):
    """A hard circuit: its size, its exact faithfulness and score on the search prompts, its nodes `[node]` bool."""

    size: int
    faithfulness: float
    kept: Tensor
    score: float


def score(faithfulness: float) -> float:
    """1 - |1 - f|: overshooting is as wrong as falling short."""
    return 1 - abs(1 - faithfulness)


def undominated(circuits: Iterable[EvaluatedCircuit]) -> list[EvaluatedCircuit]:
    """The circuits that score higher than all smaller ones, ascending in size. `circuits` has one of each size."""
    found: list[EvaluatedCircuit] = []
    for circuit in sorted(circuits, key=lambda circuit: circuit.size):
        if not found or circuit.score > found[-1].score:
            found.append(circuit)
    return found


def thinned(circuits: Sequence[EvaluatedCircuit], limit: int) -> list[EvaluatedCircuit]:
    """At most `limit` of the circuits, evenly spread by rank, the last among them."""
    every = max(1, -(-len(circuits) // limit))
    return list(circuits[::-1][::every][::-1])
