"""The files from which another process goes on with a search: a journal, and the state of its optimisation loops.

The journal (`core/evaluation/journal.py`) answers every exact evaluation that was made before. The steps of an
optimisation are not evaluations: its parameters, its optimiser and its generator are stored every few seconds instead.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, Protocol

import torch

from circuit_tui.core.evaluation.journal import Journal

JOURNAL = "journal.jsonl"


class Stateful(Protocol):
    """Anything whose state can be stored and restored, such as a torch optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """The state: tensors, numbers, strings, lists and dictionaries."""

    def load_state_dict(self, state: dict[str, Any]) -> object:
        """Restores what `state_dict` returned."""


class Checkpoint:
    """The files of one search in `folder`, those of an earlier process included.

    Attributes:
        folder: where they lie.
        journal: the results of the search's evaluations.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder / JOURNAL)

    def load(self, loop: int) -> tuple[int, dict[str, Any]] | None:
        """The next step and the state of loop number `loop`; None if nothing is stored or the file is damaged."""
        try:
            stored = torch.load(self.path(loop), weights_only=True, map_location="cpu")
            return int(stored["step"]), dict(stored["state"])
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError):
            return None  # the loop begins anew and gives the same: that only takes longer

    def save(self, loop: int, step: int, state: dict[str, Any]) -> None:
        """Stores the state of loop number `loop` before step `step`; the file is replaced in one go.

        Raises:
            OSError: it cannot be written.
        """
        stream = io.BytesIO()
        torch.save({"step": step, "state": state}, stream)
        part = self.path(loop).with_suffix(".tmp")
        part.write_bytes(stream.getbuffer())
        os.replace(part, self.path(loop))

    def path(self, loop: int) -> Path:
        """The file of loop number `loop`."""
        return self.folder / f"loop-{loop}.pt"
