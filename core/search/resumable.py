"""What makes a search one that can go on in another process, and that ends when it diverges.

Its journal (`core/evaluation/journal.py`) answers every exact evaluation of the first run. An optimisation is no evaluation: its
parameters, optimiser and random draws are stored every few seconds instead, and its loop goes on at the step after.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.search.checkpoint import Checkpoint, Loop, Stateful

# A loss this many times the first one will not come back.
DIVERGED = 1e3


class Resumable(ABC):
    """The base of `Search`.

    Attributes:
        generator: the only source of chance.
        stopped: whether the search is to end at its next step.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.stopped = False
        self._checkpoint: Checkpoint | None = None
        self._loop: Loop | None = None
        self._n_loops = 0
        self._ended: list[tuple[int, int, dict[str, Any]]] = []
        self._first_loss: float | None = None
        self._diverged = ""

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """What the search has gathered so far: numbers, lists and tensors."""

    @abstractmethod
    def _load_state(self, state: dict[str, Any]) -> None:
        """Takes back what `_state` returned."""

    def keep(self, folder: Path) -> None:
        """Before the first step: keeps in `folder` what the search needs to go on, and goes on with what is there."""
        self._checkpoint = Checkpoint(folder)

    def save(self) -> None:
        """Between two steps: everything up to here outlives this process. Without `keep` nothing happens.

        Raises:
            OSError: it cannot be written.
        """
        if self._checkpoint is None:
            return
        for ended in self._ended:
            self._checkpoint.save(*ended)
        self._ended.clear()
        if self._loop is not None and not self._diverged and self._loop.sound:
            self._checkpoint.save(*self._stored(self._loop))
        self._checkpoint.journal.flush()

    def loop(self, n_steps: int, **state: Tensor | Stateful) -> Iterator[int]:
        """The numbers of the steps of an optimisation, from the one at which an earlier run was saved.

        `state` is all that a step leaves for the next. The body yields once, at its end. A loss or parameter that is no
        finite number ends the loop and the search, with the parameters from before that step.
        """
        loop = Loop(self._n_loops, n_steps, {**state, "generator": self.generator})
        self._n_loops += 1
        stored = None if self._checkpoint is None else self._checkpoint.load(loop.number)
        if stored is not None:
            self._load_state(stored[1]["search"])
            self._first_loss = stored[1]["first_loss"]
            loop.load_state_dict(*stored)
        self._loop = loop
        try:
            while loop.next < n_steps and not self.stopped:
                step, loop.next = loop.next, loop.next + 1
                yield step
                if not self._diverged and not loop.sound:
                    self._diverged = "the mask is no longer a number"
                if self._diverged:
                    loop.take_back()
                    self.stopped = True
                else:
                    loop.accept()
            self._ended.append(self._stored(loop))
        finally:  # a body that is left early is run again from where it was last saved
            self._loop = None

    def _stored(self, loop: Loop) -> tuple[int, int, dict[str, Any]]:
        state = {"search": self._state(), "first_loss": self._first_loss, **loop.state_dict()}
        return loop.number, loop.next, state

    def _recalling(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._checkpoint is None else self._checkpoint.journal.active()

    def _watch_loss(self, loss: float) -> None:
        if self._first_loss is None:
            self._first_loss = abs(loss)
        if not self._diverged and not abs(loss) <= DIVERGED * (1 + self._first_loss):
            self._diverged = f"the loss became {loss:.3g}"

    def _early_end(self) -> list[str]:
        if not self._diverged:
            return []
        return [f"The search ended early with what it had, because {self._diverged}; a smaller lr may help."]
