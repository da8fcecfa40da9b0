"""Columns of a batch: which token indices have what in some prompt, and the splice of some of them alone."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from circuit_tui.core.splice.spliced_tokens import SpliceConstants, TokenConstants

# So many different sets of columns are kept ready for the splice, and so few where each token has constants of its own.
MOST_PARTS, FEW_PARTS = 64, 4


class TokenColumns:
    """The columns of one batch. Sets of them are frozensets of token indices.

    Args:
        constants: of the batch.
        real: `[row, position]` bool, false for padding.
        read: `[read]` token indices at which answers are read.

    Attributes:
        all: all columns; `unspliced`: those where a real token is not spliced; `read`: those with an answer.
    """

    def __init__(self, constants: TokenConstants, real: Tensor, read: Tensor) -> None:
        self._token_constants, self._device = constants, real.device
        ids, width = constants.ids, real.shape[1]
        present = torch.zeros(constants.n_positions + 1, width, dtype=torch.bool, device=real.device)
        kinds = torch.where(ids >= 0, ids, constants.n_positions)[real]
        present[kinds, torch.arange(width, device=real.device).expand_as(real)[real]] = True
        *positions, unspliced = (frozenset(row.nonzero()[:, 0].tolist()) for row in present.cpu())
        self._positions = positions
        self.all, self.unspliced = frozenset(range(width)), unspliced
        self.read = frozenset(read.unique().tolist())
        self._indices: dict[frozenset[int], Tensor] = {}
        self._parts: dict[frozenset[int], SpliceConstants] = {}
        by_token = constants.reference_row_of_group is None or any(error is not None for error in constants.errors)
        self._most = FEW_PARTS if by_token else MOST_PARTS

    def with_positions(self, positions: Iterable[int]) -> frozenset[int]:
        """Those where some prompt has one of the position ids `positions`."""
        return frozenset().union(*(self._positions[position] for position in positions))

    def indices(self, columns: frozenset[int]) -> Tensor:
        """They as `[column]`, ascending."""
        if columns not in self._indices:
            self._indices[columns] = torch.tensor(sorted(columns), dtype=torch.long, device=self._device)
        return self._indices[columns]

    def constants(self, columns: frozenset[int]) -> SpliceConstants:
        """Their tokens, ready for the splice."""
        if columns not in self._parts:
            while len(self._parts) >= self._most:
                del self._parts[next(iter(self._parts))]
            self._parts[columns] = SpliceConstants(self._token_constants, self.indices(columns))
        return self._parts[columns]
