"""What is taken apart on a prompt, and its parts, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Head = tuple[int, int]
"""(block, head)."""
PartKind = Literal["latent", "error", "SAE bias", "embedding", "undivided", "block", "constant", "others"]


@dataclass(frozen=True, slots=True)
class LatentTarget:
    """The pre-activation of a latent at one token."""

    site: int
    latent: int
    token: int


@dataclass(frozen=True, slots=True)
class LogitTarget:
    """The logit, before a soft cap, of token id `right` behind a token, less that of `wrong` if there is one."""

    token: int
    right: int
    wrong: int | None = None


Target = LatentTarget | LogitTarget


@dataclass(frozen=True, slots=True)
class AttributionPart:
    """One summand of a target's value.

    Attributes:
        kind: ``latent`` and ``error`` of the site before; ``SAE bias`` of all its tokens; ``embedding`` of a token
            where no site is before; ``undivided``, the stream at a token that no SAE takes apart, such as BOS;
            ``block``, the MLP and the biases of a block on the way; ``constant``, biases of the target itself;
            ``others``, all parts that are not listed.
        value: what it adds.
        site, latent: of a latent, the site of an error; else None.
        token: the token that it comes from; None where it is of several.
        head: the last head on the way; None past all heads.
        block: of a ``block``.
        activation: of a latent.
        count: how many parts it stands for.
    """

    kind: PartKind
    value: float
    site: int | None = None
    latent: int | None = None
    token: int | None = None
    head: Head | None = None
    block: int | None = None
    activation: float | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class Expansion:
    """A target's value and the parts that add up to it, the largest first.

    Attributes:
        target: what was expanded.
        value: the pre-activation, or the logit (difference) before a soft cap, of M's own pass.
        parts: they add up to `value`.
        unexplained: the sum of the parts that no latent or embedding explains: errors and undivided streams.
    """

    target: Target
    value: float
    parts: tuple[AttributionPart, ...]
    unexplained: float

    @property
    def total(self) -> float:
        """The sum of the parts."""
        return sum(part.value for part in self.parts)


def part_text(part: AttributionPart, short: str, where: str) -> str:
    """Returns a part in words; `short` is the short name of its site, and `where` says at which token it is."""
    return {
        "latent": f"{short}/{part.latent}{where}",
        "error": f"{short} error{where}",
        "SAE bias": f"{short} bias of the SAE",
        "embedding": f"embedding{where}",
        "undivided": f"stream{where}, not taken apart",
        "block": f"MLP and biases of block {part.block}",
        "constant": "constant",
        "others": f"{part.count:,} others",
    }[part.kind]
