"""One field of a file beside the same field recomputed: whether what the file says still holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Value = str | int | float | None
TOLERANCE = 1e-3
"""By default a number may be off by this much: absolute up to 1, relative to the recomputed number beyond."""


@dataclass(frozen=True, slots=True)
class FieldCheck:
    """A field by its JSON path without the ``$``: its value in the file, its value now, and whether they agree."""

    field: str
    file: Value
    now: Value
    ok: bool


def check_equal(field: str, file: Value, now: Value) -> FieldCheck:
    """Checks a field whose value must be the same."""
    return FieldCheck(field, file, now, file == now)


def check_close(
    field: str, file: float | tuple[float, ...] | None, now: float | tuple[float, ...] | None, tolerance: float
) -> Iterator[FieldCheck]:
    """Checks a number, or each number of a pair, which may be off by `tolerance`.

    A number or pair that the file leaves null was never claimed, and agrees.

    Raises:
        TypeError: only one of the two is a pair.
    """
    if isinstance(file, tuple) and isinstance(now, tuple):
        for index, (one, other) in enumerate(zip(file, now, strict=True)):
            yield from check_close(f"{field}[{index}]", one, other, tolerance)
        return
    if file is None and isinstance(now, tuple):
        return
    if isinstance(file, tuple) or isinstance(now, tuple):
        raise TypeError(f"{field}: a pair on one side alone")
    agrees = file is None or (now is not None and abs(file - now) <= tolerance * max(1.0, abs(now)))
    yield FieldCheck(field, file, now, agrees)
