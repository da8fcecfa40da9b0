"""Mini-batches of the train prompts, in a new random order each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.problem import Problem


@dataclass(frozen=True, slots=True)
class MiniBatch:
    """Some prompts as one `Batch` for each of their length buckets."""

    parts: tuple[Batch, ...]

    @property
    def prompts(self) -> Tensor:
        """The numbers of its prompts, `[prompt]`, in the order of `parts`."""
        return torch.cat([part.prompts for part in self.parts])


class ShuffledBatches:
    """Endless batches of `size` train prompts, or of all if there are fewer; each prompt at most once an epoch."""

    def __init__(self, problem: Problem, size: int, generator: torch.Generator) -> None:
        self._problem, self._generator = problem, generator
        self._n = len(problem.splits["train"])
        limit = problem.batch_size or self._n
        self.size = max(1, min(size, self._n, limit))
        self._left = torch.zeros(0, dtype=torch.long)

    def next(self) -> MiniBatch:
        """The next batch. Prompts at the end of an epoch that do not fill a batch are left out."""
        return self.of(self.next_prompts())

    def next_prompts(self) -> Tensor:
        """The numbers of the prompts of the next batch, `[prompt]` on the CPU."""
        if len(self._left) < self.size:
            self._left = torch.randperm(self._n, generator=self._generator)
        prompts, self._left = self._left[: self.size], self._left[self.size :]
        return prompts

    def of(self, prompts: Tensor) -> MiniBatch:
        """The batch of the prompts with the numbers `prompts` `[prompt]`."""
        return MiniBatch(tuple(self._problem.batches("train", prompts.to(self._problem.model.device))))

    def state_dict(self) -> dict[str, Any]:
        """The rest of the epoch. The generator is not part of the state."""
        return {"left": self._left}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._left = state["left"]
