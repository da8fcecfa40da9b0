"""Numbers as the screens write them: fixed decimals in columns, separators between thousands, short durations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from circuit_tui.core.hub.sizes import size_text

if TYPE_CHECKING:
    from circuit_tui.core.views import LoadProgress


def fixed(value: float | None, decimals: int = 3, missing: str = "–") -> str:
    """A number with `decimals`; `missing` for None and NaN. A number that rounds to zero has no sign."""
    if value is None or math.isnan(value):
        return missing
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def signed(value: float | None, decimals: int = 3, missing: str = "–") -> str:
    """A number with `decimals` and its sign; `missing` for None and NaN. A number that rounds to zero has no sign."""
    if value is None or math.isnan(value):
        return missing
    text = f"{value:+.{decimals}f}"
    return f"{0:.{decimals}f}" if float(text) == 0 else text


def compact(value: float) -> str:
    """An activation in at most six cells."""
    size = abs(value)
    if size >= 10_000:
        return f"{value:.0e}".replace("e+0", "e")
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return fixed(value, 2)


def percent(share: float) -> str:
    """A share in whole percent; ``<1%`` and ``>99%`` where it is not exactly 0 or 1."""
    if 0 < share < 0.005:
        return "<1%"
    if 0.995 < share < 1:
        return ">99%"
    return f"{share * 100:.0f}%"


def count(number: int) -> str:
    """A whole number with commas between the thousands."""
    return f"{number:,}"


def amount(number: int, thing: str, plural: str = "") -> str:
    """``1 node``, ``1,204 nodes``; `plural` is that of `thing`, if it is not made with an s."""
    return f"{number:,} {thing if number == 1 else plural or f'{thing}s'}"


def duration(seconds: float | None) -> str:
    """A duration in one or two units; a dash for None and NaN."""
    if seconds is None or math.isnan(seconds):
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def download_text(load: LoadProgress) -> str:
    """The progress of a download: ``120 MB of 302 MB · 12 s left``; empty if there is no download."""
    if load.bytes_done is None or load.bytes_total is None:
        return ""
    left = f" · {duration(load.seconds_left)} left" if load.seconds_left is not None else ""
    return f"{size_text(load.bytes_done)} of {size_text(load.bytes_total)}{left}"
