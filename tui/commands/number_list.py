"""Lists of numbers in flags: ``0.8,0.9,0.95``."""

from __future__ import annotations

from circuit_tui.core.errors import UserError

MOST_SEEDS = 10_000


def decimals(flag: str, text: str) -> tuple[float, ...]:
    """The numbers in `text`, ascending.

    Raises:
        UserError: there are none, or something is not a finite number.
    """
    return tuple(sorted({_number(flag, part) for part in _parts(flag, text)}))


def whole(flag: str, text: str, least: int) -> tuple[int, ...]:
    """The whole numbers in `text`, ascending.

    Raises:
        UserError: there are none, or something is not a whole number of at least `least`.
    """
    values = {_number(flag, part) for part in _parts(flag, text)}
    for value in values:
        if value != int(value) or value < least:
            raise UserError(f"{flag} {value:g}: must be a whole number, not below {least}")
    return tuple(sorted(map(int, values)))


def seeds(text: str) -> tuple[int, ...]:
    """The seeds in `text`: ``3`` is 0, 1 and 2; ``0-4`` is 0 to 4; ``0,4,9`` is these three; ``4,`` is seed 4 alone.

    Raises:
        UserError: there are none, or something is not a seed.
    """
    if "," not in text and not text.strip().partition("-")[1]:
        (count,) = whole("--seeds", text, 1)
        return tuple(range(count))
    found: set[int] = set()
    for part in _parts("--seeds", text):
        first, dash, last = part.rpartition("-")
        ends = (*whole("--seeds", first if dash else last, 0), *whole("--seeds", last, 0))
        if not 0 <= ends[1] - ends[0] < MOST_SEEDS:
            raise UserError(f"--seeds {part}: must ascend, over {MOST_SEEDS} seeds at most")
        found.update(range(ends[0], ends[1] + 1))
    return tuple(sorted(found))


def _parts(flag: str, text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UserError(f"{flag}: give at least one number")
    return parts


def _number(flag: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{flag} {text}: not a number") from None
    if not -float("inf") < value < float("inf"):
        raise UserError(f"{flag} {text}: must be finite")
    return value
