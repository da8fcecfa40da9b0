"""Tokens ready for the splice: grouped by position, with the splice's constants at each site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from circuit_tui.core.splice.ablation import ReferenceTable
from circuit_tui.core.splice.nodes import Pack
from circuit_tui.core.splice.position_groups import PositionGroups


class TokenConstants(NamedTuple):
    """What is known of each token of a batch before anything runs.

    Attributes:
        ids: `[prompt, position]` position id, negative where nothing is spliced.
        reference_rows: `[prompt, position]` the row of the reference table each token takes.
        reference_row_of_group: `[group]` the row of each position id where it alone decides the row, else None.
        errors: for each site the vector added after the splice, `[prompt, position, d_out]`, or None where dropped.
        tables: for each site its reference table.
        n_positions: number of position ids.
        framed: for each site whether its SAE has a frame.
    """

    ids: Tensor
    reference_rows: Tensor
    reference_row_of_group: Tensor | None
    errors: tuple[Tensor | None, ...]
    tables: Sequence[ReferenceTable]
    n_positions: int
    transformed: Sequence[bool]


class SpliceConstants:
    """The tokens of some prompts in all columns, or in the columns `columns` `[column]`.

    Attributes:
        errors: for each site the error `[prompt, column, d_out]`, None where dropped.
        base: for each site what the empty circuit decodes to, `[group, 1 or token, d_out]`, with the error unless the
            site's SAE has a frame.
        errors_after_transform: for each site the error `[group, token, d_out]` that is added after the frame, None where dropped
            or in `base`.
        group_of: `[position id]` on the CPU: the group of each position, -1 where it has no token here. None if groups
            are position ids.
    """

    def __init__(self, constants: TokenConstants, columns: Tensor | None = None) -> None:
        ids, rows, by_group, errors, tables, n_groups, transformed = constants
        self.group_of: Tensor | None = None
        if columns is not None:
            ids, rows = ids[:, columns], rows[:, columns]
            errors = tuple(None if error is None else error[:, columns] for error in errors)
            here = ids[ids >= 0].unique()
            n_groups = len(here)
            self.group_of = torch.full((constants.n_positions,), -1)
            self.group_of[here.cpu()] = torch.arange(n_groups)
            ids = torch.where(ids >= 0, torch.searchsorted(here, ids.clamp(min=0)), ids)
            by_group = None if by_group is None else by_group[here]
        self.errors, self._tables = errors, tables
        self.position_groups = PositionGroups(ids, n_groups)
        if by_group is not None:
            self._rows = by_group.unsqueeze(1)
        else:
            self._rows = rows.reshape(-1)[self.position_groups.take].clamp(min=0).reshape(n_groups, -1)
        grouped = [None if error is None else self.position_groups.group(error) for error in errors]
        self.errors_after_transform = [
            error if late else None for error, late in zip(grouped, transformed, strict=True)
        ]
        self.base = [
            self._base(site, None if late else error)
            for site, (error, late) in enumerate(zip(grouped, transformed, strict=True))
        ]

    def references(self, site: int, pack: Pack) -> tuple[Tensor, ...]:
        """Reference activations of the slots of each band of `pack`, `[group, 1 or token, slot]`."""
        rows = (self._rows if pack.order is None else self._rows[pack.order]).unsqueeze(2)
        values = self._tables[site].values
        return tuple(
            values[rows[padded_group.groups], padded_group.latents.unsqueeze(1)] for padded_group in pack.padded_groups
        )

    def _base(self, site: int, error: Tensor | None) -> Tensor:
        base = self._tables[site].base[self._rows]
        return base if error is None else base + error
