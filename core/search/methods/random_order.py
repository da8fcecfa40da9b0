"""Nodes in random order: what any method must beat."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from circuit_tui.core.search.methods.settings import RandomSettings
from circuit_tui.core.search.ranking import RankingSearch


class RandomSearch(RankingSearch):
    """Keeps a random prefix of all candidate nodes."""

    settings: RandomSettings

    def score_nodes(self) -> Iterator[tuple[float, Tensor | None]]:
        """See `RankingSearch.score_nodes`."""
        yield 1.0, torch.rand(len(self.problem.space), generator=self.generator)
