"""Nodes in random order: what any method must beat."""

from __future__ import annotations

import torch
from typing_extensions import override

from circuit_tui.core.search.methods.settings import RandomSettings
from circuit_tui.core.search.ranking import RankingMethod, Scoring


class RandomMethod(RankingMethod[RandomSettings]):
    """Keeps a random prefix of all candidate nodes."""

    @override
    def score_nodes(self) -> Scoring:
        yield 1.0
        return torch.rand(len(self.problem.space), generator=self.generator)
