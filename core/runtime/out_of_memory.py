"""A device without memory for a computation: recognised, answered with half as many prompts at a time, and told."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from circuit_tui.core.errors import OutOfMemory
from circuit_tui.core.runtime.incremental import Increments
from circuit_tui.core.runtime.user_log import user_log

Value = TypeVar("Value")
# What torch says on devices whose errors have no type of their own.
_SAYINGS = ("out of memory", "can't allocate memory")
WHAT_HELPS = "try --dtype bfloat16, fewer or narrower SAEs, fewer prompts, or --device cpu"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that a device, or the machine, has no memory left."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(saying in str(error) for saying in _SAYINGS)


def describe_error(error: BaseException) -> str:
    """An error that nobody saw coming: its kind and what it says; of one about memory, what would help."""
    said = f"{type(error).__name__}: {error}"
    return f"out of memory: {said.splitlines()[0]}; {WHAT_HELPS}" if is_out_of_memory(error) else said


def halved(size: int, what: str, error: BaseException) -> int:
    """Half of `size` prompts, told; frees what was cached. `what` is the computation as the start of a sentence.

    Raises:
        OutOfMemory: one prompt is already too many.
    """
    if size <= 1:
        line = f"out of memory: {what} does not fit even with one prompt at a time; {WHAT_HELPS}"
        raise OutOfMemory(line) from error
    free_cached()
    count = "1 prompt" if size < 4 else f"{size // 2} prompts"
    user_log.warning("Out of memory: %s goes on with %s at a time.", what, count)
    return size // 2


def fitting(compute: Callable[[], Increments[Value]], halve: Callable[[BaseException], None]) -> Increments[Value]:
    """The value of `compute()`, begun again after `halve` for as long as there is no memory for it."""
    while True:
        try:
            return (yield from compute())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            # Its traceback holds on to every tensor of the computation.
            failure = error.with_traceback(None)
        halve(failure)


@contextlib.contextmanager
def explain_oom(what: str) -> Iterator[None]:
    """Turns an error about memory in this block into one that says what did not fit.

    Raises:
        OutOfMemory: there was no memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"out of memory while {what}; {WHAT_HELPS}") from error


def free_cached() -> None:
    """Gives memory that only caches hold back to the device."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
