"""Some prompts of one split, ready to run from the first site on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from circuit_tui.core.ablation import ReferenceRows
from circuit_tui.core.columns import Columns
from circuit_tui.core.spliced_tokens import Constants, SplicedTokens


@dataclass(frozen=True, slots=True)
class SplitTensors:
    """All prompts of a split at the first site, clean side.

    Attributes:
        prefix: `[prompt, position, d_model]`, the residual entering the first site: no mask can change it.
        ids: `[prompt, position]` position id, negative where nothing is spliced.
        rows: `[prompt, position]` the row of the reference table each token takes.
        rows_by_group: `[group]` the row of each position id where it alone decides the row, else None.
        errors: for each site the vector added after the splice, `[prompt, position, d_out]`, or None where dropped.
        lengths, right, wrong: `[prompt]`.
        plain_logits: `[prompt, vocab]` float32 logits of M at the answer position.
    """

    prefix: Tensor
    ids: Tensor
    rows: Tensor
    rows_by_group: Tensor | None
    errors: tuple[Tensor | None, ...]
    lengths: Tensor
    right: Tensor
    wrong: Tensor
    plain_logits: Tensor

    def __len__(self) -> int:
        return len(self.lengths)


class Batch(SplicedTokens):
    """The prompts `prompts` `[prompt]` of a split, ready to run.

    Attributes:
        recompute: whether a backward pass computes activations again instead of finding them kept, for want of memory.
    """

    def __init__(
        self,
        split: SplitTensors,
        prompts: Tensor,
        tables: Sequence[ReferenceRows],
        n_groups: int,
        framed: Sequence[bool],
        recompute: bool = False,
    ) -> None:
        self.prompts, self.recompute = prompts, recompute
        width = int(split.lengths[prompts].max())
        self.prefix = split.prefix[prompts, :width]
        self.lengths = split.lengths[prompts]
        self.answer = self.lengths - 1
        self.right, self.wrong = split.right[prompts], split.wrong[prompts]
        errors = tuple(None if error is None else error[prompts, :width] for error in split.errors)
        ids, rows = split.ids[prompts, :width], split.rows[prompts, :width]
        self._constants = Constants(ids, rows, split.rows_by_group, errors, tables, n_groups, framed)
        super().__init__(self._constants)

    def __len__(self) -> int:
        return len(self.prompts)

    @cached_property
    def columns(self) -> Columns:
        """Where in this batch the tokens of each position are, and those that are read."""
        real = torch.arange(self.prefix.shape[1], device=self.lengths.device) < self.lengths.unsqueeze(1)
        return Columns(self._constants, real, self.answer)

    def logit_difference(self, logits: Tensor) -> Tensor:
        """Right minus wrong answer's logit, `[prompt]`, of logits `[prompt, vocab]`."""
        rows = torch.arange(len(logits), device=logits.device)
        return logits[rows, self.right] - logits[rows, self.wrong]
