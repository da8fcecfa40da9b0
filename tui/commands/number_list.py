"""Lists of numbers as flags give them: ``0.8,0.9,0.95``."""

from __future__ import annotations

from circuit_tui.core.errors import UserError


def decimals(flag: str, text: str) -> tuple[float, ...]:
    """The finite numbers, ascending.

    Raises:
        UserError: none, or something that is no number.
    """
    return tuple(sorted({_number(flag, part) for part in _parts(flag, text)}))


def whole(flag: str, text: str, least: int) -> tuple[int, ...]:
    """The whole numbers, not below `least`, ascending.

    Raises:
        UserError: none, something that is no whole number, or one below `least`.
    """
    values = {_number(flag, part) for part in _parts(flag, text)}
    for value in values:
        if value != int(value) or value < least:
            raise UserError(f"{flag} {value:g}: must be a whole number, not below {least}")
    return tuple(sorted(map(int, values)))


def seeds(text: str) -> tuple[int, ...]:
    """``3`` means the seeds 0, 1 and 2; ``0,4,9`` those three; ``4,`` seed 4 alone.

    Raises:
        UserError: none, or something that is no seed.
    """
    if "," in text:
        return whole("--seeds", text, 0)
    (count,) = whole("--seeds", text, 1)
    return tuple(range(count))


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
