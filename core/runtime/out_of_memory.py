"""Recognises that a device has no memory for a computation, and retries it with half as many prompts at a time."""

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
# From messages of torch for devices whose errors have no type of their own.
_PHRASES = ("out of memory", "can't allocate memory")
WHAT_HELPS = "try --dtype bfloat16, fewer or narrower SAEs, fewer prompts, or --device cpu"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that a device, or the machine, has no memory left."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _PHRASES)


def describe_error(error: BaseException) -> str:
    """Describes an error that nobody expected: its type and message, and what helps if it is about memory."""
    text = f"{type(error).__name__}: {error}"
    return f"out of memory: {text.splitlines()[0]}; {WHAT_HELPS}" if is_out_of_memory(error) else text


def halve_circuits(n: int, what: str) -> int:
    """Returns half of `n` circuits, at least two that one pass ran, tells the user, and frees what was cached.

    `what` is the computation, as the start of a sentence.
    """
    free_cached()
    user_log.warning("Out of memory: %s goes on with at most %s circuits in a pass.", what, n // 2)
    return n // 2


def halve_prompts(size: int, what: str, error: BaseException) -> int:
    """Returns half of `size` prompts, tells the user, and frees what was cached.

    `what` is the computation, as the start of a sentence.

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


def retry_halved(compute: Callable[[], Increments[Value]], halve: Callable[[BaseException], None]) -> Increments[Value]:
    """Returns the value of `compute()`, which begins again after each `halve` until there is memory for it."""
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
    """Gives the device back what memory only caches hold."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
