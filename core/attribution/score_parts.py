"""An attention score taken apart, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from circuit_tui.core.attribution.parts import Head

SideKind = Literal["latent", "SAE bias", "error", "since", "stream", "bias"]


@dataclass(frozen=True, slots=True)
class ScoreSide:
    """One summand of what a head reads at a token.

    Attributes:
        kind: ``latent``, ``SAE bias`` and ``error`` of the last SAE on the stream before the head; ``since``, what
            blocks wrote between the two; ``stream``, all of a token that no SAE takes apart; ``bias`` of norm and head.
        site, latent: of a latent.
    """

    kind: SideKind
    site: int | None = None
    latent: int | None = None


@dataclass(frozen=True, slots=True)
class ScorePart:
    """What one pair adds to the score; of the rest of all pairs the sides are None and `count` says how many."""

    query: ScoreSide | None
    key: ScoreSide | None
    value: float
    count: int = 1


@dataclass(frozen=True, slots=True)
class HeadScore:
    """The attention score of a head between two tokens, taken apart.

    Attributes:
        block, head, query, key: which head, and the two tokens.
        value: the model's score before a soft cap.
        capped: the score as the softmax gets it.
        weight: the attention that it becomes.
        parts: they add up to `value`, the largest first.
    """

    block: int
    head: int
    query: int
    key: int
    value: float
    capped: float
    weight: float
    parts: tuple[ScorePart, ...]

    @property
    def total(self) -> float:
        """The sum of the parts."""
        return sum(part.value for part in self.parts)


@dataclass(frozen=True, slots=True)
class EdgeScore:
    """Why a head that carries an edge looks where it does, on the prompt on which the edge is largest.

    Attributes:
        source, target: the ends of the edge.
        heads: the heads that carry it, the strongest first; `score` is of one of them.
        prompt: the number of the prompt in its split.
        tokens: the text of each of its tokens.
        score: the head's score from the target's token to the source's, in M's own pass.
    """

    source: int
    target: int
    heads: tuple[Head, ...]
    prompt: int
    tokens: tuple[str, ...]
    score: HeadScore


def side_text(side: ScoreSide | None, short: str, count: int = 1) -> str:
    """Returns a side in words; `short` is the short name of its site, `count` of how many pairs None is a side."""
    if side is None:
        return f"{count:,} other pairs" if count > 1 else ""
    if side.kind == "latent":
        return f"{short}/{side.latent}"
    return {"since": "written since", "stream": "the whole stream", "bias": "bias of norm and head"}.get(
        side.kind, side.kind
    )
