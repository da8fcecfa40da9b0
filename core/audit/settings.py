"""How much an audit measures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

EDGE_DRAWS = 3
"""How often edges are eliminated on other search prompts."""


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """How much is measured.

    Attributes:
        seed: the seed of every draw, and the first seed of the searches.
        bootstraps: resamplings of the prompts for an interval.
        subsets: random subsets K of the circuit, and steps of the greedy subset.
        draws: draws of resample ablation.
        random_circuits: random circuits with as many nodes at each site.
        pairs: the most pairs of nodes that are tried for minimality.
        seeds, resamplings, shuffles: searches with another seed, on resampled prompts, on shuffled labels; with 0 the
            line is not measured.
        dictionaries: whether to search with plain dictionaries in place of the SAEs.
        edges: whether the lines on the circuit's edges are measured.
        edge_draws: eliminations of edges on other search prompts; with fewer than 2 the line is not measured.
        quick: searches see `QUICK_PROMPTS` of the search prompts, with the method's quick settings.
        text: the text on which the splice is priced by cross-entropy; None for none.
    """

    seed: int = 0
    bootstraps: int = 2000
    subsets: int = 10
    draws: int = 10
    random_circuits: int = 100
    pairs: int = 100
    seeds: int = 5
    resamplings: int = 5
    shuffles: int = 1
    dictionaries: bool = False
    edges: bool = False
    edge_draws: int = EDGE_DRAWS
    quick: bool = False
    text: Path | None = None
