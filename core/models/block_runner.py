"""The interface through which a model's blocks run on a batch of rows, on whichever side the model pads them."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class BlockRunner(Protocol):
    """Takes and returns rows whose first token is at index 0, padded on the right.

    `LanguageModel` runs them as they are. Within the model, `LeftPaddedRunner` (`left_padding.py`) moves their padding
    to the left, and `SharedPrefixRunner` (`shared_prefixes.py`) runs what begins alike once.
    """

    @property
    def name(self) -> str:
        """The name of the model."""

    @property
    def n_layers(self) -> int:
        """Number of blocks."""

    @property
    def device(self) -> torch.device:
        """The device of the residual stream between blocks."""

    def hook_point(self, name: str) -> torch.nn.Module:
        """The hook point `name` of the model.

        Raises:
            UserError: the model has none of that name.
        """

    def embed(self, tokens: Tensor) -> Tensor:
        """The residual stream `[row, position, d_model]` that enters block 0, of `tokens` `[row, position]`."""

    def record(self, length: int) -> None:
        """Records the blocks' arguments for the rows of `length` tokens, so that nothing but blocks runs later.

        Recording runs a plain pass: hooks that are attached for one block must not see it.
        """

    def run_blocks(self, resid: Tensor, start: int, stop: int) -> Tensor:
        """Runs blocks `start` up to, not including, `stop` on the residual stream `[row, position, d_model]`."""

    def logits_from(self, resid: Tensor, start: int, columns: Tensor, rows: Tensor | None = None) -> Tensor:
        """Float32 logits `[read, vocab]` of the residual `[row, position, d_model]` that enters block `start`.

        They are read at token index `columns` `[read]` of the rows `rows` `[read]`; once in each row if None.
        """

    def to_block_layout(self, x: Tensor) -> Tensor:
        """`x` `[row, position, …]` with its tokens where they are inside a block."""

    def from_block_layout(self, x: Tensor) -> Tensor:
        """A tensor `[row, position, …]` from inside a block with its tokens where they are outside."""
