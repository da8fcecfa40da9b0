"""Which of the circuits that a search has met are on its frontier: those that no smaller one betters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Found = tuple[int, float, "Tensor"]
"""A circuit: its size, its faithfulness on the search prompts, its nodes `[node]` bool."""


def score(faithfulness: float) -> float:
    """1 - |1 - f|: overshooting is as wrong as falling short."""
    return 1 - abs(1 - faithfulness)


def undominated(points: Mapping[int, tuple[float, Tensor]]) -> list[Found]:
    """Of the best circuit of each size those that score higher than all smaller ones, ascending in size."""
    found: list[Found] = []
    for size in sorted(points):
        faithfulness, circuit = points[size]
        if not found or score(faithfulness) > score(found[-1][1]):
            found.append((size, faithfulness, circuit))
    return found


def thinned(points: list[Found], limit: int) -> list[Found]:
    """At most `limit` of the points, evenly spread by rank, the largest among them."""
    every = max(1, -(-len(points) // limit))
    return points[::-1][::every][::-1]
