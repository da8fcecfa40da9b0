"""The journal of a search: what was computed of which circuit, so that a search that died can be run again from it.

A search is deterministic: run again from its seed, it asks for the same evaluations in the same order. A second run
that is given the first one's answers therefore comes to the point where the first one ended without computing anything,
and goes on from there to the same circuit. That holds for every method that evaluates through `Evaluator` and
`LiveCircuit`; what a method computes otherwise is computed again, unless it goes through `recalled`.

Answers are found by what was asked (a digest of the kind of question, the prompts and the circuit), not by their place,
so a run that takes another way is slower but never wrong. The file has one line of JSON for each answer; a line that a
crash cut off is left out.
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

Value = TypeVar("Value", float, Tensor, PromptMetrics)
Part = str | int | Tensor
_active: contextvars.ContextVar[Journal | None] = contextvars.ContextVar("journal", default=None)


class Journal:
    """The answers of one search on one problem, in the file `path`; those of an earlier run are known at once.

    Attributes:
        recalled: how many questions have been answered from the earlier run.
    """

    def __init__(self, path: Path) -> None:
        self._known, whole = _read(path)
        self.recalled = 0
        self._unwritten: list[bytes] = []
        self._file = path.open("ab", buffering=0)
        self._file.truncate(whole)  # what is written next must not be joined to half a line

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Within this block everything that is evaluated is looked up here first, and written here if it is new."""
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)

    def lookup(self, key: str) -> Any:
        """The known answer, or None."""
        found = self._known.get(key)
        if found is None:
            return None
        self.recalled += 1
        return _decode(found)

    def write(self, key: str, value: float | Tensor | PromptMetrics) -> None:
        """Adds an answer; it is safe from a kill of this process after the next `flush`."""
        self._unwritten.append(json.dumps({"key": key, **_encode(value)}).encode() + b"\n")

    def flush(self) -> None:
        """Hands all that was written to the operating system.

        Raises:
            OSError: the disk is full, for example.
        """
        if self._unwritten:
            self._file.write(b"".join(self._unwritten))
            self._unwritten.clear()

    def close(self) -> None:
        """Closes the file; what was not flushed is lost."""
        self._file.close()


def recalled_increments(increments: Increments[Value], count: int, *question: Part) -> Increments[Value]:
    """Returns the value of `increments` from the active journal, or computes it and writes it there.

    A recalled value takes `count` increments, as many as a computed one: a search that is run again counts the same
    steps.
    """
    journal = _active.get()
    if journal is None:
        return (yield from increments)
    key = digest(*question)
    known: Value | None = journal.lookup(key)
    if known is not None:
        increments.close()
        for _ in range(count):
            yield
        return known
    value = yield from increments
    journal.write(key, value)
    return value


def recalled(compute: Callable[[], Value], *question: Part) -> Value:
    """The value of `compute()` from the active journal, or computed and written there.

    `question` must tell it from all other values that a search computes.
    """
    journal = _active.get()
    if journal is None:
        return compute()
    key = digest(*question)
    known: Value | None = journal.lookup(key)
    if known is not None:
        return known
    value = compute()
    journal.write(key, value)
    return value


def digest(*parts: Part) -> str:
    """A name for a question: words, numbers and tensors."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.cpu().numpy().tobytes() if isinstance(part, Tensor) else str(part).encode()
        hashed.update(f"{type(part).__name__} {len(data)} ".encode() + data)
    return hashed.hexdigest()


def _encode(value: float | Tensor | PromptMetrics) -> dict[str, Any]:
    if isinstance(value, Tensor):
        return {"tensor": _tensor_data(value)}
    if isinstance(value, PromptMetrics):
        return {"metrics": [_tensor_data(part) for part in (value.logit_diff, value.kl, value.cross_entropy)]}
    return {"number": value}


def _decode(found: dict[str, Any]) -> float | Tensor | PromptMetrics:
    if "tensor" in found:
        return _tensor(found["tensor"])
    if "metrics" in found:
        return PromptMetrics(*(_tensor(part) for part in found["metrics"]))
    return float(found["number"])


def _tensor_data(tensor: Tensor) -> str:
    """A `[n]` float32 tensor as text."""
    assert tensor.dtype == torch.float32
    assert tensor.dim() == 1
    return base64.b64encode(tensor.detach().cpu().numpy().tobytes()).decode()


def _tensor(data: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(data)), dtype=torch.float32)


def _read(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """The answers in the file, and how many of its bytes are whole lines."""
    known: dict[str, dict[str, Any]] = {}
    whole = 0
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            try:
                answer = json.loads(line)
                known[answer["key"]] = answer
            except (ValueError, KeyError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            whole += len(line)
    return known, whole
