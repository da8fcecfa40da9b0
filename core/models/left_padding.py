"""Rows that are padded on the left on their way through the model.

Everywhere else rows start at token index 0. Here they are moved to end together, as much of the code does that runs
models on batches of text, and moved back behind the blocks. An attention mask keeps the padding out and position ids
start at the first real token, so that the numbers stay what they were, up to rounding. The mask depends on the lengths
of all rows of a batch: what the blocks receive is recorded anew for each batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.choices import PaddingKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.models.block_arguments import BlockCall, OptionalKvCache
from circuit_tui.core.models.language_model import LanguageModel

RECORDED = 8
"""Batches of which the blocks' arguments are kept."""


def padded(model: LanguageModel, lengths: Tensor) -> LanguageModel:
    """`model` for rows of `lengths` `[row]` real tokens: itself, or a view of it that pads them on the left."""
    return _LeftPadded(model, lengths) if model.padding_side == "left" else model


class _LeftPadded(LanguageModel):
    """Shares everything with the model that it is a view of. Takes and gives rows that start at index 0."""

    def __init__(self, model: LanguageModel, lengths: Tensor) -> None:
        self.__dict__.update(model.__dict__)
        self._lengths = lengths

    def embed(self, tokens: Tensor) -> Tensor:
        """See `LanguageModel.embed`."""
        return self.from_blocks(super().embed(self.to_blocks(tokens)))

    def blocks(self, resid: Tensor, start: int, stop: int, kv_cache: OptionalKvCache = None) -> Tensor:
        """See `LanguageModel.blocks`; nothing is remembered."""
        assert kv_cache is None
        return self.from_blocks(super().blocks(self.to_blocks(resid), start, stop))

    def logits_from(
        self, resid: Tensor, start: int, at: Tensor, rows: Tensor | None = None, kv_cache: OptionalKvCache = None
    ) -> Tensor:
        """See `LanguageModel.finish`; nothing is remembered."""
        assert kv_cache is None
        rows = torch.arange(len(resid), device=resid.device) if rows is None else rows
        return super().logits_from(self.to_blocks(resid), start, at + self._moved(resid.shape[1])[rows], rows)

    def to_blocks(self, x: Tensor) -> Tensor:
        """`x` `[row, position, …]` with each row's last real token at the last index; before it comes its first."""
        places = torch.arange(x.shape[1], device=x.device) - self._moved(x.shape[1]).unsqueeze(1)
        return _taken(x, places.clamp(min=0))

    def from_blocks(self, x: Tensor) -> Tensor:
        """`x` `[row, position, …]` with each row's first real token at index 0; behind its last comes that again."""
        places = torch.arange(x.shape[1], device=x.device) + self._moved(x.shape[1]).unsqueeze(1)
        return _taken(x, places.clamp(max=x.shape[1] - 1))

    def _moved(self, width: int) -> Tensor:
        """By how much each row is moved, `[row]`."""
        return width - self._lengths

    def _recorded(self, length: int) -> list[BlockCall]:
        key = (length, *self._lengths.tolist())
        if key not in self._calls:
            for old in [key for key in self._calls if isinstance(key, tuple)][: 1 - RECORDED]:
                del self._calls[old]
            self._calls[key] = self._record(len(self._lengths), length)
        return self._calls[key]

    def _masks(self, length: int) -> dict[str, Any]:
        real = torch.arange(length, device=self.device) >= self._moved(length).unsqueeze(1)
        return {"attention_mask": real.long()}


def _taken(x: Tensor, places: Tensor) -> Tensor:
    rows = torch.arange(len(x), device=x.device).unsqueeze(1)
    return x[rows, places]


@torch.no_grad()
def pad_on(side: PaddingKind, model: LanguageModel, tokens: Tensor, lengths: Tensor) -> None:
    """Lets `model` pad on that side, from now on.

    On the left the shortest and the longest of the rows `tokens` `[row, position]`, `lengths` `[row]`, must have the
    logits together that each has alone.

    Raises:
        UserError: they have not.
    """
    model.padding_side = side
    if side == "right":
        return
    two = torch.stack([lengths.argmin(), lengths.argmax()])
    tokens, lengths = tokens[two, : int(lengths.max())], lengths[two]
    view = padded(model, lengths)
    together = view.logits_from(view.embed(tokens), 0, lengths - 1)
    rows = [row[None, :length] for row, length in zip(tokens, lengths.tolist(), strict=True)]
    alone = torch.cat([model.logits_from(model.embed(row), 0, torch.tensor([row.shape[1] - 1])) for row in rows])
    off = float((together - alone).abs().max())
    if not off <= model.tolerance(alone):
        raise UserError(
            f"--padding left: {model.name} gives other logits when prompts are padded on the left (off by {off:.2g}); "
            "use --padding right"
        )
