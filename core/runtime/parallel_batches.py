"""Runs batches in parallel on a CPU, each in a thread of its own.

torch shares each product of a block out among threads and waits for all of them. With a small model one thread is done
before the others have woken up, so they run other batches instead: whole batches have nothing to wait for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from typing import TypeVar

import torch

from circuit_tui.core.runtime.incremental import Incremental, Increments

Item = TypeVar("Item")
Value = TypeVar("Value")

STEP_PROMPTS = 32
# A thread's share of a block. With less, the demo's search took 24 s on two threads and 19 s on one.
WORTH_A_THREAD = 1e8
"""Floating-point operations."""
# Python's share of a pass of a small model, one thread at a time, is about a fifth of it.
MOST_PARALLEL = 4


def fit_threads(device: torch.device, d_model: int, longest: int, *, separable: bool) -> int:
    """Gives torch as many threads as a step over prompts of `longest` tokens keeps busy; at most those it had at first.

    Returns how many batches may run at once on the threads left over: 1 unless they are `separable`, which means that
    passes in several threads do not see each other. The number of threads depends on shapes alone, so that sums come
    out the same in every run; ``OMP_NUM_THREADS`` takes precedence. A block's forward pass takes about 24 d^2
    operations a token (Kaplan et al. 2020, "Scaling Laws", table 1).
    """
    if device.type != "cpu" or "OMP_NUM_THREADS" in os.environ:
        return 1
    work = 24 * d_model**2 * STEP_PROMPTS * longest
    torch.set_num_threads(max(1, min(_threads_at_first(), int(work // WORTH_A_THREAD))))
    return min(MOST_PARALLEL, _threads_at_first() // torch.get_num_threads()) if separable else 1


def rounds(items: Sequence[Item], n_parallel: int) -> list[Sequence[Item]]:
    """Returns `items` in groups of `n_parallel`, which may run at once; the last one may be smaller."""
    return [items[start : start + n_parallel] for start in range(0, len(items), n_parallel)]


def run_in_threads(calls: Sequence[Callable[[], Value]]) -> list[Value]:
    """Runs each of `calls` in a thread of its own, the first in the caller's, and returns what they return.

    They must not write to anything they share. torch's gradient mode is the caller's in all of them. An error of one is
    raised once all have ended, so that whoever starts again is alone.
    """
    in_mode = partial(_in_mode, torch.is_grad_enabled())
    others = [_executor(len(calls) - 1).submit(in_mode, call) for call in calls[1:]]
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
def _executor(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="batch")


@cache
def _threads_at_first() -> int:
    return torch.get_num_threads()
