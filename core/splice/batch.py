"""Some prompts of one split, ready to run from the first site on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from circuit_tui.core.splice.ablation import ReferenceTable
from circuit_tui.core.splice.columns import TokenColumns
from circuit_tui.core.splice.spliced_tokens import SpliceConstants, TokenConstants
from circuit_tui.core.tasks.answers import Answers


@dataclass(frozen=True, slots=True)
class PreparedSplit:
    """All prompts of a split at the first site, clean side.

    Attributes:
        prefix: `[row, position, d_model]`, the residual entering the first site: no mask can change it.
        ids: `[row, position]` position id, negative where nothing is spliced.
        reference_rows: `[row, position]` the row of the reference table each token takes.
        reference_row_of_group: `[group]` the row of each position id where it alone decides the row, else None.
        errors: for each site the vector added after the splice, `[row, position, d_out]`, or None where dropped.
        lengths: `[row]`.
        answers: which of the rows are whose, and where in them the answers are read.
        plain_logits: `[read, vocab]` float32 logits of M where the answers are read.
    """

    prefix: Tensor
    ids: Tensor
    reference_rows: Tensor
    reference_row_of_group: Tensor | None
    errors: tuple[Tensor | None, ...]
    lengths: Tensor
    answers: Answers
    plain_logits: Tensor

    def __len__(self) -> int:
        """How many prompts there are."""
        return len(self.answers)

    @property
    def prompt_lengths(self) -> Tensor:
        """The length of each prompt's longest row, `[prompt]`."""
        return self.lengths.reshape(len(self), -1).amax(1)


class Batch(SpliceConstants):
    """The prompts `prompts` `[prompt]` of a split, ready to run.

    Attributes:
        recompute: whether a backward pass computes activations again instead of finding them kept, for want of memory.
        rows: `[row]` their rows among all of the split, each prompt's behind the last one's.
        answers: those of these prompts; `reads` `[read]` are their reads among all of the split.
        read_rows, read_places, read_ids: `[read]` row, token index and position id of each read.
    """

    def __init__(
        self,
        split: PreparedSplit,
        prompts: Tensor,
        tables: Sequence[ReferenceTable],
        n_groups: int,
        transformed: Sequence[bool],
        recompute: bool = False,
    ) -> None:
        self.prompts, self.recompute = prompts, recompute
        self.rows = split.answers.rows_of(prompts)
        self.lengths = split.lengths[self.rows]
        width = int(self.lengths.max())
        self.prefix = split.prefix[self.rows, :width]
        self.answers, self.reads = split.answers.select(prompts)
        self.read_rows, self.read_columns = self.answers.read_rows, self.answers.read_columns
        errors = tuple(None if error is None else error[self.rows, :width] for error in split.errors)
        ids, rows = split.ids[self.rows, :width], split.reference_rows[self.rows, :width]
        self.read_ids = ids[self.read_rows, self.read_columns]
        self._token_constants = TokenConstants(
            ids, rows, split.reference_row_of_group, errors, tables, n_groups, transformed
        )
        super().__init__(self._token_constants)

    def __len__(self) -> int:
        return len(self.prompts)

    @cached_property
    def columns(self) -> TokenColumns:
        """Where in this batch the tokens of each position are, and those that are read."""
        real = torch.arange(self.prefix.shape[1], device=self.lengths.device) < self.lengths.unsqueeze(1)
        return TokenColumns(self._token_constants, real, self.read_columns)

    def logit_difference(self, logits: Tensor) -> Tensor:
        """Gives log P(right) - log P(wrong), `[prompt]`, of logits `[read, vocab]` (see `answers.py`)."""
        return self.answers.logit_difference(logits)
