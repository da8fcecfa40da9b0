"""Optimisation loops that another process can continue, and that end when the optimisation diverges."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.errors import CheckpointError
from circuit_tui.core.runtime.out_of_memory import is_out_of_memory
from circuit_tui.core.search.checkpoint import Checkpoint, Stateful

Part = Tensor | torch.Generator | Stateful
"""A part of a loop's state."""
MAX_LOSS = 1e3
"""A loss this many times the first one does not come back."""


class NotFinite(ArithmeticError):
    """A loss, a gradient, a parameter or a score that is not a finite number; its text names which."""


class OptimisationLoop:
    """The steps of one optimisation. Its state can be stored between two steps, and the last step taken back.

    Args:
        number: which of the search's loops it is, counted from 0.
        n_steps: how many steps it has.
        state: all that one step leaves for the next, by name.

    Attributes:
        next: the step that comes next.
    """

    def __init__(self, number: int, n_steps: int, state: Mapping[str, Part]) -> None:
        self.number, self.n_steps, self.next, self._state = number, n_steps, 0, state
        self.accept()

    def state_dict(self) -> dict[str, Any]:
        """The state before the next step."""
        return {name: _read(part) for name, part in self._state.items()}

    def load_state_dict(self, step: int, state: dict[str, Any]) -> None:
        """Restores `state`, from which step `step` goes on."""
        self.next = step
        for name, part in self._state.items():
            _write(part, state[name])
        self.accept()

    @property
    def is_finite(self) -> bool:
        """Whether every parameter is a finite number."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in self._parameters().values())

    def accept(self) -> None:
        """Makes the parameters as they are now the ones to which `take_back` returns."""
        self._accepted = {name: tensor.clone() for name, tensor in self._parameters().items()}

    def take_back(self) -> None:
        """Restores the parameters that were last accepted."""
        for name, tensor in self._accepted.items():
            _write(self._state[name], tensor)

    def _parameters(self) -> dict[str, Tensor]:
        return {name: part.detach() for name, part in self._state.items() if isinstance(part, Tensor)}


class ResumableLoops:
    """The optimisation loops of one attempt at a search, one after another.

    Args:
        gathered: what the search has found and reported, stored with the state of a loop.
        checkpoint: where to store, and what to go on from; None to store nothing.

    Attributes:
        diverged: why the optimisation diverged; empty as long as it has not.
    """

    def __init__(self, gathered: Sequence[Stateful], checkpoint: Checkpoint | None) -> None:
        self.diverged = ""
        self._gathered, self._checkpoint = gathered, checkpoint
        self._loop: OptimisationLoop | None = None
        self._n_loops = 0
        self._finished: list[tuple[int, int, dict[str, Any]]] = []
        self._first_loss: float | None = None

    def run(
        self,
        n_steps: int,
        state: Mapping[str, Part],
        stopped: Callable[[], bool],
        over: Callable[[], bool],
        reads: Callable[[int], bool],
    ) -> Iterator[int]:
        """The numbers of the steps of the next loop, from the one before which an earlier process stored it.

        `state` is all that one step leaves for the next. The loop ends early when `stopped()`, when the optimisation
        diverges (the loss is out of bounds), or when `over()`. Parameters are looked at, and `over` is asked, after
        those steps alone that `reads(step)`; where it diverges, they are those from after the last such step.

        Raises:
            NotFinite: a parameter is not finite.
            CheckpointError: what is stored does not fit `state`.
        """
        loop = OptimisationLoop(self._n_loops, n_steps, state)
        self._n_loops += 1
        self._restore(loop)
        self._loop = loop
        try:
            while loop.next < n_steps and not stopped():
                if (loop.next == 0 or reads(loop.next - 1)) and over():
                    break
                step, loop.next = loop.next, loop.next + 1
                yield step
                if not (reads(step) or self.diverged):
                    continue
                if not loop.is_finite:
                    raise NotFinite("the mask")
                if self.diverged:
                    loop.take_back()
                else:
                    loop.accept()
            self._finished.append(self._stored(loop))
        finally:  # a body that is left early is run again from where it was last stored
            self._loop = None

    def watch(self, loss: float) -> None:
        """Takes in the loss of a step. Raises NotFinite if it is not finite."""
        if not math.isfinite(loss):
            raise NotFinite("the loss")
        if self._first_loss is None:
            self._first_loss = abs(loss)
        if not self.diverged and not abs(loss) <= MAX_LOSS * (1 + self._first_loss):
            self.diverged = f"the loss became {loss:.3g}"

    def save(self) -> None:
        """Stores the loop under way, between two of its steps, and those that are over.

        Raises:
            OSError: it cannot be written.
        """
        if self._checkpoint is None:
            return
        for finished in self._finished:
            self._checkpoint.save(*finished)
        self._finished.clear()
        if self._loop is not None and not self.diverged and self._loop.is_finite:
            self._checkpoint.save(*self._stored(self._loop))

    def abandon_step(self) -> None:
        """After an error in the middle of a step: the loop under way is no longer stored."""
        self._loop = None

    def _restore(self, loop: OptimisationLoop) -> None:
        stored = None if self._checkpoint is None else self._checkpoint.load(loop.number)
        if stored is None:
            return
        assert self._checkpoint is not None
        step, state = stored
        try:
            for part in self._gathered:
                part.load_state_dict(state["search"])
            self._first_loss = state["first_loss"]
            loop.load_state_dict(step, state)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            path = self._checkpoint.path(loop.number)
            raise CheckpointError(f"{path}: this version cannot continue the search stored there") from error

    def _stored(self, loop: OptimisationLoop) -> tuple[int, int, dict[str, Any]]:
        search = {name: value for part in self._gathered for name, value in part.state_dict().items()}
        return loop.number, loop.next, {"search": search, "first_loss": self._first_loss, **loop.state_dict()}


def _read(part: Part) -> Any:
    if isinstance(part, Tensor):
        return part.detach().cpu().clone()
    return part.get_state() if isinstance(part, torch.Generator) else part.state_dict()


@torch.no_grad()
def _write(part: Part, state: Any) -> None:
    if isinstance(part, Tensor):
        part.copy_(state)
    elif isinstance(part, torch.Generator):
        part.set_state(state)
    else:
        part.load_state_dict(state)
