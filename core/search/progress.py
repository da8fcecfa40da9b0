"""What a search reports while it runs: how far it is, and the soft masks of its optimisation."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

RECORDED_MASKS = 50
"""About as many soft masks of an optimisation are kept to be shown."""
SETTLED_MASKS = 8
"""So many recorded masks in a row with the same nodes kept settle an optimisation: a seventh of its steps."""


class ProgressMeter:
    """Counts the steps and the seconds of a search, those in an earlier process included.

    Attributes:
        steps: how many steps have been reported.
        started: when the search would have begun on the clock of this process (`time.monotonic`).
    """

    def __init__(self, started: float) -> None:
        self.steps, self.started = 0, started

    @property
    def seconds(self) -> float:
        """How long the search has taken so far."""
        return time.monotonic() - self.started

    def advance(self, share_done: float) -> tuple[int, int, float, float | None]:
        """Counts a step after which `share_done`, 0..1, of the search is over.

        Returns the number of the step, an estimate of how many there will be, the seconds so far and an estimate of the
        seconds left; that one is None early on.
        """
        self.steps += 1
        seconds = self.seconds
        share = min(max(share_done, 1e-3), 1.0)
        left = seconds / share - seconds if share > 0.02 else None
        return self.steps, max(self.steps, round(self.steps / share)), seconds, left

    def state_dict(self) -> dict[str, Any]:
        """The steps and the seconds."""
        return {"step": self.steps, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on counting from what `state_dict` returned."""
        self.steps, self.started = state["step"], time.monotonic() - state["seconds"]


class MaskHistory:
    """Soft masks from the course of an optimisation.

    Attributes:
        steps: at which steps they were recorded.
        masks: the masks `[node]` on the CPU, one for each of `steps`.
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.masks: list[Tensor] = []

    def due(self, step: int, n_steps: int) -> bool:
        """Whether step `step` of `n_steps` is one of about `RECORDED_MASKS` evenly spread ones."""
        return step % max(1, n_steps // RECORDED_MASKS) == 0

    def record(self, step: int, n_steps: int, mask: Tensor) -> None:
        """Keeps `mask` `[node]` if it is `due`."""
        if self.due(step, n_steps):
            self.steps.append(step)
            self.masks.append(mask.detach().cpu())

    @property
    def settled(self) -> bool:
        """Whether the last `SETTLED_MASKS` recorded masks keep the same nodes (above a half), the first others.

        A mask that still keeps what it began with has not been optimised: the learning rate may be small.
        """
        if len(self.masks) < SETTLED_MASKS:
            return False
        kept = [mask > 0.5 for mask in self.masks[-SETTLED_MASKS:]]
        return all(torch.equal(each, kept[0]) for each in kept[1:]) and not torch.equal(self.masks[0] > 0.5, kept[0])

    def state_dict(self) -> dict[str, Any]:
        """The steps and their masks."""
        return {"mask_steps": self.steps, "mask_path": self.masks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.steps, self.masks = state["mask_steps"], state["mask_path"]
