"""What an ablated node is replaced by, and what becomes of the SAE error.

A node outside the circuit takes its reference value (`--ablation`):

    mean        the mean over the corrupt train prompts, all SAEs spliced in, at the same position
    clean-mean  the same over the clean train prompts
    zero        0
    resample    its value on a corrupt train prompt drawn at random among those of the same positions

Mean ablation with per-position means is that of Caples et al. 2025; which of them is used moves faithfulness (Miller et
al. 2024), so a result always names it.

Every kind is a table of rows `[row, latent]` and, for each token, the row it takes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.choices import AblationKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.answers import Answers
from circuit_tui.core.tasks.positions import Alignment


@dataclass(frozen=True, slots=True)
class ReferenceTable:
    """Reference activations of one site, `values` `[row, latent]`, and their decoding, `base` `[row, d_model]`."""

    values: Tensor
    base: Tensor


class GroupMeans:
    """Running mean of vectors for each cell, exact and in float64.

    Args:
        n_cells: number of cells; a cell nobody fills has mean 0.
        width: length of a vector.
    """

    def __init__(self, n_cells: int, width: int, device: torch.device) -> None:
        # MPS has no float64.
        wide = torch.float32 if device.type == "mps" else torch.float64
        self._sum = torch.zeros(n_cells, width, dtype=wide, device=device)
        self._count = torch.zeros(n_cells, dtype=wide, device=device)

    def add(self, cells: Tensor, vectors: Tensor) -> None:
        """Adds `vectors` `[..., width]` to `cells` `[...]`; a negative cell is left out."""
        flat = cells.reshape(-1)
        inside = flat >= 0
        values = vectors.reshape(len(flat), -1)[inside].to(self._sum.dtype)
        self._sum.index_add_(0, flat[inside], values)
        self._count += torch.bincount(flat[inside], minlength=len(self._count)).to(self._sum.dtype)

    def mean(self) -> Tensor:
        """Mean `[cell, width]`, float32."""
        return (self._sum / self._count.clamp(min=1).unsqueeze(1)).float()


def positions_without_mean(alignment: Alignment, ablation: AblationKind) -> tuple[str, ...]:
    """The positions of clean tokens in whose place no source prompt has a token, so that their mean is 0.

    They are in reading order; empty for an ablation that takes no means.
    """
    if ablation not in ("mean", "clean-mean"):
        return ()
    filled = alignment.mean_groups["train", "clean" if ablation == "clean-mean" else "corrupt"].unique()
    found: set[int] = set()
    for (split, side), cells in alignment.mean_groups.items():
        if side == "clean":
            empty = (cells >= 0) & ~torch.isin(cells, filled)
            found |= set(alignment.ids[split, side][empty].tolist())
    return tuple(alignment.names[position] for position in sorted(found))


def resample_rows(cells: Tensor, source: Tensor, answers: Answers, seed: int, task: str) -> Tensor:
    """For each token the flat index of the source token whose activations it takes, `[row, position]`.

    Args:
        cells: `[row, position]` cell of each token, negative where nothing is spliced.
        source: the same for the corrupt train prompts.
        answers: of these prompts.
        seed: of the draw. One source prompt is drawn for each prompt, row for row, so that its activations belong
            together and both answers are read after the same. As far as the two agree both rows take the first's.

    Raises:
        UserError: no source prompt has the same cells as some prompt.
    """
    generator, texts = torch.Generator().manual_seed(seed), answers.rows_per_prompt
    by_cells: dict[tuple[tuple[int, ...], ...], list[int]] = defaultdict(list)
    for index, part in enumerate(source.split(texts)):
        by_cells[_cells_of(part)].append(index)
    rows = torch.full_like(cells, -1)
    for index, part in enumerate(cells.split(texts)):
        key = _cells_of(part)
        choices = by_cells.get(key)
        if not choices:
            raise UserError(
                f"--ablation resample: task {task}: no corrupt train prompt has the {max(map(len, key))} positions "
                f"of prompt {index}; use --ablation mean"
            )
        drawn = choices[int(torch.randint(len(choices), (1,), generator=generator))]
        for text, row in enumerate(part):
            donor = drawn * texts + text
            rows[index * texts + text, _in_order(row)] = donor * source.shape[1] + _in_order(source[donor])
        first, until = index * texts, int(answers.difference_column[index]) + 1
        rows[first + 1 : first + texts, :until] = rows[first, :until]
    return rows


def _cells_of(rows: Tensor) -> tuple[tuple[int, ...], ...]:
    """The cells of each row of a prompt, in ascending order."""
    return tuple(tuple(sorted(cell for cell in row if cell >= 0)) for row in rows.tolist())


def _in_order(row: Tensor) -> Tensor:
    """The token indices of a row that have a cell, by ascending cell."""
    inside = (row >= 0).nonzero()[:, 0]
    return inside[row[inside].argsort(stable=True)]
