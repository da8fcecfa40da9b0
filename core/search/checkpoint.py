"""What of a search is kept so that it can go on in another process: a journal, and the state of its loops of steps.

The journal (`core/evaluation/journal.py`) answers every exact evaluation of the first run. An optimisation is no evaluation: its
parameters, optimiser and random draws are stored every few seconds instead, and the loop goes on at the step after.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from circuit_tui.core.evaluation.journal import Journal

JOURNAL = "journal.jsonl"


class Stateful(Protocol):
    """Anything with a state that can be taken and given back, such as a torch optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """The state: tensors, numbers, strings, lists and dictionaries."""

    def load_state_dict(self, state: dict[str, Any]) -> object:
        """Takes a state back."""


State = Mapping[str, Tensor | torch.Generator | Stateful]


class Checkpoint:
    """The files of one search in `folder`; what an earlier run left there is taken up.

    Attributes:
        folder: where they lie.
        journal: the answers of the evaluations.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder / JOURNAL)

    def load(self, loop: int) -> tuple[int, dict[str, Any]] | None:
        """The stored step and state of loop number `loop`, None if there is none or it is damaged."""
        try:
            stored = torch.load(self._path(loop), weights_only=True, map_location="cpu")
            return int(stored["step"]), dict(stored["state"])
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError):
            return None  # begun anew, a loop gives the same again: it only takes longer

    def save(self, loop: int, step: int, state: dict[str, Any]) -> None:
        """Stores the state of loop number `loop` before its step `step`, whole or not at all."""
        stream = io.BytesIO()
        torch.save({"step": step, "state": state}, stream)
        part = self._path(loop).with_suffix(".tmp")
        part.write_bytes(stream.getbuffer())
        os.replace(part, self._path(loop))

    def close(self) -> None:
        """Closes the journal."""
        self.journal.close()

    def _path(self, loop: int) -> Path:
        return self.folder / f"loop-{loop}.pt"


class Loop:
    """The steps of one optimisation, which can be stored between any two of them, and taken back when they diverge.

    Args:
        number: which of a search's loops it is, counted from 0.
        n_steps: how many steps.
        state: all that one step leaves for the next, by name.

    Attributes:
        next: the step that comes next.
    """

    def __init__(self, number: int, n_steps: int, state: State) -> None:
        self.number, self.n_steps, self.next, self._state = number, n_steps, 0, state
        self.accept()

    def state_dict(self) -> dict[str, Any]:
        """The state before the step that comes next."""
        return {name: _state_of(part) for name, part in self._state.items()}

    def load_state_dict(self, following: int, state: dict[str, Any]) -> None:
        """Goes on before step `following` with a stored state."""
        self.next = following
        for name, part in self._state.items():
            _give_back(part, state[name])
        self.accept()

    @property
    def sound(self) -> bool:
        """Whether every parameter is a finite number."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in self._parameters().values())

    def accept(self) -> None:
        """The parameters are those to come back to from now on."""
        self._good = {name: tensor.clone() for name, tensor in self._parameters().items()}

    def take_back(self) -> None:
        """Makes the parameters what they were when they were last accepted."""
        for name, tensor in self._good.items():
            _give_back(self._state[name], tensor)

    def _parameters(self) -> dict[str, Tensor]:
        return {name: part.detach() for name, part in self._state.items() if isinstance(part, Tensor)}


def _state_of(part: Tensor | torch.Generator | Stateful) -> Any:
    if isinstance(part, Tensor):
        return part.detach().cpu().clone()
    return part.get_state() if isinstance(part, torch.Generator) else part.state_dict()


@torch.no_grad()
def _give_back(part: Tensor | torch.Generator | Stateful, state: Any) -> None:
    if isinstance(part, Tensor):
        part.copy_(state)
    elif isinstance(part, torch.Generator):
        part.set_state(state)
    else:
        part.load_state_dict(state)
