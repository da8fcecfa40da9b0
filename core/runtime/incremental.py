"""Computations in slices: whoever runs one can do other things in between."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

Value = TypeVar("Value")
# It yields after each batch, or each site of a batch, and returns its value.
Slices = Generator[None, None, Value]


def finish(slices: Slices[Value]) -> Value:
    """Runs a computation in slices to its end and returns its value."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            value: Value = end.value
            return value
