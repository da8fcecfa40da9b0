"""What a screen or a printer shows of latents: immutable, plain Python, no tensor. See `core/views.py`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TopTokens:
    """The tokens whose logits a latent's decoder direction raises and lowers most, the most moved first."""

    site: int
    latent: int
    promotes: tuple[str, ...]
    suppresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LatentColumns:
    """Columns of the node table that are computed after opening.

    `push[i]` is node i's direct push on the answers (`latents/answer_push.py`), in logits; None where no answer is read
    at its tokens. `push` itself is None until computed. `tokens` comes in chunks, those of kept latents first; chunks
    are only ever added. `tokens_done` of `n_latents` candidate latents have theirs.
    """

    push: tuple[float | None, ...] | None
    tokens: tuple[tuple[TopTokens, ...], ...]
    tokens_done: int
    n_latents: int

    @property
    def complete(self) -> bool:
        """Whether every candidate latent has its tokens."""
        return self.tokens_done == self.n_latents
