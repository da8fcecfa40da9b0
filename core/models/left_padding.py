"""Rows that are padded on the left while they run through the model.

Everywhere else rows start at token index 0. Here they are moved so that they end together, as in much of the code that
runs models on batches of text, and moved back behind the blocks. An attention mask hides the padding and position ids
start at the first real token, so that the numbers stay the same up to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from circuit_tui.core.models.block_arguments import BlockCall
from circuit_tui.core.models.block_runner import BlockRunner
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.rearranging_runner import RearrangingRunner


def runner_for(model: LanguageModel, lengths: Tensor) -> BlockRunner:
    """Returns the runner of the blocks of `model` for rows of `lengths` `[row]` real tokens, padded on its side."""
    return LeftPaddedRunner(model, lengths) if model.padding_side == "left" else model


class LeftPaddedRunner(RearrangingRunner):
    """Runs the blocks of `model` on rows of `lengths` `[row]` real tokens, padded on the left."""

    def __init__(self, model: LanguageModel, lengths: Tensor) -> None:
        super().__init__(model)
        self._lengths = lengths

    @override
    def embed(self, tokens: Tensor) -> Tensor:
        mask = self.attention_mask(tokens.shape[1])
        return self.from_block_layout(self.model.embed(self.to_block_layout(tokens), mask))

    @override
    def record(self, length: int) -> None:
        self._calls(length)

    @override
    def run_blocks(self, resid: Tensor, start: int, stop: int) -> Tensor:
        calls = self._calls(resid.shape[1])
        return self.from_block_layout(self.model.run_blocks(self.to_block_layout(resid), start, stop, calls=calls))

    @override
    def logits_from(self, resid: Tensor, start: int, columns: Tensor, rows: Tensor | None = None) -> Tensor:
        rows = torch.arange(len(resid), device=resid.device) if rows is None else rows
        columns = columns + self._shift(resid.shape[1])[rows]
        calls = self._calls(resid.shape[1])
        return self.model.logits_from(self.to_block_layout(resid), start, columns, rows, calls=calls)

    @override
    def to_block_layout(self, x: Tensor) -> Tensor:
        # A row's last real token goes to the last index; its first fills the padding.
        index = torch.arange(x.shape[1], device=x.device) - self._shift(x.shape[1]).unsqueeze(1)
        return _take_positions(x, index.clamp(min=0))

    @override
    def from_block_layout(self, x: Tensor) -> Tensor:
        # A row's first real token goes to index 0; its last fills the padding.
        index = torch.arange(x.shape[1], device=x.device) + self._shift(x.shape[1]).unsqueeze(1)
        return _take_positions(x, index.clamp(max=x.shape[1] - 1))

    def attention_mask(self, width: int) -> Tensor:
        """Int64 `[row, position]`, 0 at the padding of rows of `width` tokens."""
        return (torch.arange(width, device=self.device) >= self._shift(width).unsqueeze(1)).long()

    def _calls(self, width: int) -> list[BlockCall]:
        """The recorded arguments of the blocks for rows of `width` tokens, padding included."""
        return self.model.recordings.for_left_padded(self.attention_mask(width))

    def _shift(self, width: int) -> Tensor:
        """By how many tokens each row of `width` tokens moves, `[row]`."""
        return width - self._lengths


def _take_positions(x: Tensor, index: Tensor) -> Tensor:
    """`x` `[row, position, …]` at the token indices `index` `[row, position]`."""
    rows = torch.arange(len(x), device=x.device).unsqueeze(1)
    return x[rows, index]
