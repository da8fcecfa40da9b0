"""Counts what autograd keeps for the backward pass; and simulates a device with room for only so much."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from circuit_tui.core.splice.problem import Problem


class SavedBytes:
    """Bytes of the tensors kept now, each storage once, without the weights of `problem`."""

    def __init__(self, problem: Problem) -> None:
        self.bytes = self.most = 0
        self._uses: dict[int, int] = {}
        weights = [*problem.model.bridge.original_model.parameters()]
        weights += [weight for site in problem.sites for weight in site.sae.sae.parameters()]
        self._constant = {weight.untyped_storage().data_ptr() for weight in weights}

    def pack(self, tensor: Tensor) -> _Held:
        storage = tensor.untyped_storage()
        where, size = storage.data_ptr(), storage.nbytes()
        held = _Held(tensor)
        if where in self._constant:
            return held
        if not self._uses.get(where):
            self.bytes += size
            self.most = max(self.most, self.bytes)
        self._uses[where] = self._uses.get(where, 0) + 1
        weakref.finalize(held, self._release, where, size)
        return held

    def _release(self, where: int, size: int) -> None:
        self._uses[where] -= 1
        if not self._uses[where]:
            self.bytes -= size


class _Held:
    def __init__(self, tensor: Tensor) -> None:
        # Detached: a node that keeps its own output would otherwise keep itself alive.
        self.tensor = tensor.detach()


class _Full(TorchDispatchMode):
    def __init__(self, kept: SavedBytes, room: int) -> None:
        super().__init__()
        self._kept, self._room = kept, room

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._kept.bytes > self._room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return func(*args, **(kwargs or {}))


@contextmanager
def count_saved_bytes(problem: Problem, room: int | None = None) -> Iterator[SavedBytes]:
    """Counts what is kept within this block; every operation fails while that is more than `room` bytes."""
    kept = SavedBytes(problem)
    full = contextlib.nullcontext() if room is None else _Full(kept, room)
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda held: held.tensor), full:
        yield kept
