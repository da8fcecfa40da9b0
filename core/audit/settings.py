"""How much an audit measures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """How much is measured. `seed` is that of every draw, and the first of the searches' seeds.

    Attributes:
        bootstraps: resamplings of the prompts behind an interval.
        subsets: random subsets K of the circuit, and steps of the greedy one.
        draws: of resample ablation.
        random_circuits: circuits of the same size for each site.
        pairs: pairs of nodes tried for minimality, at most.
        seeds, resamplings, shuffles: searches with another seed, on resampled prompts, on shuffled labels; with 0 the
            line is not measured.
        quick: searches see `QUICK_PROMPTS` of the search prompts, with `Method.quick` settings.
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
    quick: bool = False
    text: Path | None = None
