"""Some prompts of one split, ready to run from the first site on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.ablation import ReferenceRows
from circuit_tui.core.layout import Layout
from circuit_tui.core.nodes import Pack


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


class Batch:
    """The prompts `prompts` `[prompt]` of a split, grouped by position, with the constants of the splice.

    Attributes:
        base: for each site what the empty circuit decodes to, `[group, 1 or token, d_out]`, with the error unless the
            site's SAE has a frame.
        late_errors: for each site the error `[group, token, d_out]` that is added after the frame, None where dropped
            or in `base`.
    """

    def __init__(
        self,
        split: SplitTensors,
        prompts: Tensor,
        tables: Sequence[ReferenceRows],
        n_groups: int,
        framed: Sequence[bool],
    ) -> None:
        self.prompts = prompts
        width = int(split.lengths[prompts].max())
        self.prefix = split.prefix[prompts, :width]
        self.lengths = split.lengths[prompts]
        self.answer = self.lengths - 1
        self.right, self.wrong = split.right[prompts], split.wrong[prompts]
        self.layout = Layout(split.ids[prompts, :width], n_groups)
        self.errors = tuple(None if error is None else error[prompts, :width] for error in split.errors)
        self._tables = tables
        if split.rows_by_group is not None:
            self._rows = split.rows_by_group.unsqueeze(1)
        else:
            rows = split.rows[prompts, :width].reshape(-1)[self.layout.take].clamp(min=0)
            self._rows = rows.reshape(n_groups, -1)
        errors = [None if error is None else self.layout.group(error) for error in self.errors]
        self.late_errors = [error if late else None for error, late in zip(errors, framed, strict=True)]
        self.base = [
            self._base(site, None if late else error)
            for site, (error, late) in enumerate(zip(errors, framed, strict=True))
        ]

    def __len__(self) -> int:
        return len(self.prompts)

    def references(self, site: int, pack: Pack) -> tuple[Tensor, ...]:
        """Reference activations of the slots of each band of `pack`, `[group, 1 or token, slot]`."""
        rows = (self._rows if pack.order is None else self._rows[pack.order]).unsqueeze(2)
        values = self._tables[site].values
        return tuple(values[rows[band.groups], band.latents.unsqueeze(1)] for band in pack.bands)

    def _base(self, site: int, error: Tensor | None) -> Tensor:
        base = self._tables[site].base[self._rows]
        return base if error is None else base + error

    def logit_difference(self, logits: Tensor) -> Tensor:
        """Right minus wrong answer's logit, `[prompt]`, of logits `[prompt, vocab]`."""
        rows = torch.arange(len(logits), device=logits.device)
        return logits[rows, self.right] - logits[rows, self.wrong]
