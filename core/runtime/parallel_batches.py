"""Batches run side by side, each in a thread of its own.

torch shares each product of a small model out among threads and waits for all of them, which costs more than it gains
(`threads.py`). Whole batches have nothing to wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from typing import TypeVar

import torch

from circuit_tui.core.runtime.incremental import Incremental, Increments

Item = TypeVar("Item")
Value = TypeVar("Value")


def rounds(items: Sequence[Item], n_parallel: int) -> list[Sequence[Item]]:
    """`items` in groups of `n_parallel`, the last one perhaps smaller: what is in a group may run at once."""
    return [items[start : start + n_parallel] for start in range(0, len(items), n_parallel)]


def run_in_threads(calls: Sequence[Callable[[], Value]]) -> list[Value]:
    """What `calls` return, each run in a thread of its own, the first in the caller's.

    They may write to nothing that they share. torch's gradient mode is the caller's in all of them. An error of one is
    raised when all have ended: whoever begins again then is alone.
    """
    in_mode = partial(_in_mode, torch.is_grad_enabled())
    others = [_threads(len(calls) - 1).submit(in_mode, call) for call in calls[1:]]
    try:
        first = calls[0]()
    finally:
        wait(others)
    return [first, *(other.result() for other in others)]


def interleaved(parts: Sequence[Incremental[Value]], n_parallel: int) -> Increments[list[Value]]:
    """Returns the values of `parts`, `n_parallel` of which advance at a time: one increment of each is one of this."""
    values: list[Value] = []
    for running in rounds(parts, n_parallel):
        ended: dict[int, Value] = {}
        while len(ended) < len(running):
            left = [number for number in range(len(running)) if number not in ended]
            for number, end in zip(
                left, run_in_threads([partial(_ended, running[number]) for number in left]), strict=True
            ):
                if end is not None:
                    ended[number] = end.value
            yield
        values += [ended[number] for number in range(len(running))]
    return values


def _ended(part: Incremental[Value]) -> StopIteration | None:
    """Runs one increment and returns how the computation ended, None if it did not."""
    try:
        next(part)
    except StopIteration as end:
        return end
    return None


def _in_mode(gradient: bool, call: Callable[[], Value]) -> Value:
    with torch.set_grad_enabled(gradient):
        return call()


@cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="batch")
