"""Computations in increments: whoever runs one can do other things in between.

A function is written as a generator that yields after each batch, or each site of a batch, and returns its value.
`incremental` turns it into a function that returns an `Incremental`: another such function takes it up with
``yield from``, everyone else asks for its `result`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import wraps
from typing import Generic, ParamSpec, TypeVar

Value = TypeVar("Value")
Arguments = ParamSpec("Arguments")
Increments = Generator[None, None, Value]
"""The body of an incremental function."""


class Incremental(Generic[Value]):
    """A computation that has not begun; each `next` runs one increment, ``yield from`` returns its value."""

    def __init__(self, increments: Increments[Value]) -> None:
        self._increments = increments

    def __iter__(self) -> Increments[Value]:
        return self._increments

    def __next__(self) -> None:
        next(self._increments)

    def result(self) -> Value:
        """Runs all increments that are left and returns the value."""
        while True:
            try:
                next(self._increments)
            except StopIteration as end:
                value: Value = end.value
                return value

    def close(self) -> None:
        """Ends the computation without a value."""
        self._increments.close()


def incremental(body: Callable[Arguments, Increments[Value]]) -> Callable[Arguments, Incremental[Value]]:
    """Returns `body`, a generator function, as a function that returns an `Incremental`."""

    @wraps(body)
    def begin(*args: Arguments.args, **named: Arguments.kwargs) -> Incremental[Value]:
        return Incremental(body(*args, **named))

    return begin
