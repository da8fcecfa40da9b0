"""The flags that narrow a release of SAEs down: ``--layers 7,14 --width 16k --l0 60``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from circuit_tui.core.errors import UserError


@dataclass(frozen=True, slots=True)
class SiteFlags:
    """The flags as the command line has them; None where not given.

    Attributes:
        layers: a list such as ``7,14,21`` or ``4-8``.
        every: n for every n-th layer that the release has.
        width: a number of latents, ``16384`` or ``16k``.
        l0: a number, for the nearest one, or a word that ids use for it.
    """

    layers: str | None = None
    every: int | None = None
    width: str | None = None
    l0: str | None = None

    def check(self) -> None:
        """Refuses flags that no release could satisfy.

        Raises:
            UserError: naming the flag.
        """
        if self.layers is not None and self.every is not None:
            raise UserError("--layers and --every: give one of the two")
        if self.layers is not None:
            parse_layers(self.layers)
        if self.every is not None and self.every < 1:
            raise UserError(f"--every {self.every}: must be at least 1")
        if self.width is not None and parse_width(self.width) is None:
            raise UserError(f"--width {self.width}: write a number of latents, such as 16384 or 16k")
        if self.l0 is not None and parse_l0(self.l0) is None and not re.fullmatch(r"[a-z]+", self.l0):
            raise UserError(f"--l0 {self.l0}: write a number, or a word of the ids such as medium")

    @property
    def given(self) -> str:
        """The first flag that was given, for messages; empty if none was."""
        fields = {"--layers": self.layers, "--every": self.every, "--width": self.width, "--l0": self.l0}
        return next((flag for flag, value in fields.items() if value is not None), "")


ALL_SITES = SiteFlags()
"""No flag given: the whole release."""


def parse_layers(text: str) -> tuple[int, ...]:
    """The layers of ``7,14,21`` or ``4-8,12``, in order and once each.

    Raises:
        UserError: `text` is not such a list.
    """
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]) or int(match[2] or 0) > 999:
            raise UserError(f"--layers {text}: write numbers and ranges, such as 7,14,21,40 or 4-8")
        found.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(found))


def parse_l0(text: str) -> float | None:
    """An L0 as a number; None if `text` is a word, or no L0."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def parse_width(text: str) -> int | None:
    """``16k``, ``1m`` or ``16384`` as a number of latents; None if `text` is not of this form."""
    match = re.fullmatch(r"(\d+)([km]?)", text.strip().lower())
    return None if match is None else n_latents_of(match[1], match[2])


def n_latents_of(digits: str, unit: str) -> int:
    """The number of latents that a width means, which is a power of two written in thousands.

    16k is 16,384, 65k is 65,536, 80k (no power of two) 81,920.
    """
    number = int(digits)
    if not unit:
        return number
    rough = number * (1000 if unit.lower() == "k" else 1_000_000)
    power: int = 2 ** round(rough.bit_length() - 1 + (rough / 2 ** (rough.bit_length() - 1) - 1))
    base, off = (1024, 0.025) if unit.lower() == "k" else (1024**2, 0.05)
    return power if abs(power - rough) <= off * rough else number * base
