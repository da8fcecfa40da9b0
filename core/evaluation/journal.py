"""The journal of a search: the values it has computed, so that a search that died can run again without computing them.

A search is deterministic: run again from its seed, it computes the same values in the same order. With the journal of
the first run, a second run reaches the point where the first one ended without computing anything, and goes on from
there to the same circuit. This holds for every method that evaluates through `Evaluator` and `LiveCircuit`. Anything
else that a method computes is computed again, unless it goes through `recalled`.

A value is found by its key: a digest of its kind, the prompts and the circuit. Its place in the file does not matter,
so a run that computes other values is slower but never wrong. The file has one line of JSON for each value; a line that
a crash cut off is left out.
"""

from __future__ import annotations

import base64
import contextlib
import contextvars
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from circuit_tui.core.evaluation.metrics import PromptMetrics
from circuit_tui.core.runtime.incremental import Increments

Value = TypeVar("Value", float, list[float], Tensor, PromptMetrics)
KeyPart = str | int | Tensor
_active: contextvars.ContextVar[Journal | None] = contextvars.ContextVar("journal", default=None)


class Journal:
    """The values of one search on one problem, in the file `path`, with those of an earlier run.

    The file is open only while it is read or written, so a search can be dropped at any time.

    Attributes:
        recalled: how many values of the earlier run have been used.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.open("ab").close()
        self._stored, self._whole_bytes = _read(path)
        self.recalled = 0
        self._unwritten: list[bytes] = []

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Makes this the active journal in a block: values are looked up here, and new ones are written here."""
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)

    def lookup(self, key: str) -> Any:
        """Returns the value of the earlier run, or None."""
        entry = self._stored.get(key)
        if entry is None:
            return None
        self.recalled += 1
        return _decode(entry)

    def write(self, key: str, value: float | list[float] | Tensor | PromptMetrics) -> None:
        """Adds a value; after the next `flush` it survives a kill of this process."""
        self._unwritten.append(json.dumps({"key": key, **_encode(value)}).encode() + b"\n")

    def flush(self) -> None:
        """Hands everything that was written to the operating system.

        Raises:
            OSError: it cannot be written, for example because the disk is full.
        """
        if not self._unwritten:
            return
        lines = b"".join(self._unwritten)
        with self._path.open("r+b") as file:
            file.truncate(self._whole_bytes)  # the next line must not be joined to half a line
            file.seek(self._whole_bytes)
            file.write(lines)
        self._whole_bytes += len(lines)
        self._unwritten.clear()


def recalled_increments(increments: Increments[Value], count: int, *key_parts: KeyPart) -> Increments[Value]:
    """Returns the value of `increments` from the active journal, or computes it and writes it there.

    `key_parts` must name it among all values that a search computes.

    A recalled value takes `count` increments, as many as a computed one: a search that is run again counts the same
    steps.
    """
    journal = _active.get()
    if journal is None:
        return (yield from increments)
    key = digest(*key_parts)
    stored: Value | None = journal.lookup(key)
    if stored is not None:
        increments.close()
        for _ in range(count):
            yield
        return stored
    value = yield from increments
    journal.write(key, value)
    return value


def recalled(compute: Callable[[], Value], *key_parts: KeyPart) -> Value:
    """Returns the value of `compute()` from the active journal, or computes it and writes it there.

    `key_parts` must name it among all values that a search computes.
    """
    journal = _active.get()
    if journal is None:
        return compute()
    key = digest(*key_parts)
    stored: Value | None = journal.lookup(key)
    if stored is not None:
        return stored
    value = compute()
    journal.write(key, value)
    return value


def digest(*parts: KeyPart) -> str:
    """Returns a digest of words, numbers and tensors, 32 hexadecimal digits."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.cpu().numpy().tobytes() if isinstance(part, Tensor) else str(part).encode()
        hashed.update(f"{type(part).__name__} {len(data)} ".encode() + data)
    return hashed.hexdigest()


def _encode(value: float | list[float] | Tensor | PromptMetrics) -> dict[str, Any]:
    if isinstance(value, Tensor):
        return {"tensor": _tensor_data(value)}
    if isinstance(value, PromptMetrics):
        return {"metrics": [_tensor_data(part) for part in (value.logit_diff, value.kl, value.cross_entropy)]}
    return {"numbers": value} if isinstance(value, list) else {"number": value}


def _decode(entry: dict[str, Any]) -> float | list[float] | Tensor | PromptMetrics:
    if "tensor" in entry:
        return _tensor(entry["tensor"])
    if "metrics" in entry:
        return PromptMetrics(*(_tensor(part) for part in entry["metrics"]))
    if "numbers" in entry:
        return [float(number) for number in entry["numbers"]]
    return float(entry["number"])


def _tensor_data(tensor: Tensor) -> str:
    """Returns a `[n]` float32 tensor as text."""
    assert tensor.dtype == torch.float32
    assert tensor.dim() == 1
    return base64.b64encode(tensor.detach().cpu().numpy().tobytes()).decode()


def _tensor(data: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(data)), dtype=torch.float32)


def _read(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Returns the entries of the file by key, and the number of its bytes that are whole lines."""
    entries: dict[str, dict[str, Any]] = {}
    whole_bytes = 0
    with path.open("rb") as file:
        for line in file:
            try:
                entry = json.loads(line)
                entries[entry["key"]] = entry
            except (ValueError, KeyError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            whole_bytes += len(line)
    return entries, whole_bytes
