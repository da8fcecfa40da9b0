"""The reference values that replace ablated nodes.

A node outside the circuit takes its reference value (`--ablation`):

    mean        the mean over the corrupt train prompts, all SAEs spliced in, at the same position
    clean-mean  the same over the clean train prompts
    zero        0
    resample    its value on a corrupt train prompt drawn at random among those with the same positions

Mean ablation with per-position means is that of Caples et al. 2025. The kind of ablation moves faithfulness (Miller et
al. 2024), so a result always names it.

Every kind is a table of rows `[row, latent]` and, for each token, the row that it takes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.choices import AblationKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.answers import Answers
from circuit_tui.core.tasks.positions import Alignment


@dataclass(frozen=True, slots=True)
class ReferenceTable:
    """Reference activations of one site, `values` `[row, latent]`, and their decoding, `base` `[row, d_out]`."""

    values: Tensor
    base: Tensor


class GroupMeans:
    """Running means of vectors, one for each group, in float64.

    Args:
        n_groups: number of groups; one that no vector belongs to has mean 0.
        width: length of a vector.
    """

    def __init__(self, n_groups: int, width: int, device: torch.device) -> None:
        # MPS has no float64.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self._sum = torch.zeros(n_groups, width, dtype=dtype, device=device)
        self._count = torch.zeros(n_groups, dtype=dtype, device=device)

    def add(self, groups: Tensor, vectors: Tensor) -> None:
        """Adds `vectors` `[..., width]` to the groups `groups` `[...]`; those of a negative group are left out."""
        flat = groups.reshape(-1)
        inside = flat >= 0
        values = vectors.reshape(len(flat), -1)[inside].to(self._sum.dtype)
        self._sum.index_add_(0, flat[inside], values)
        self._count += torch.bincount(flat[inside], minlength=len(self._count)).to(self._sum.dtype)

    def mean(self) -> Tensor:
        """The means `[group, width]`, float32."""
        return (self._sum / self._count.clamp(min=1).unsqueeze(1)).float()


def positions_without_mean(alignment: Alignment, ablation: AblationKind) -> tuple[str, ...]:
    """The positions whose mean is 0 for want of data: clean prompts have a token there, but no source prompt has.

    They are in reading order; empty for an ablation that takes no means.
    """
    if ablation not in ("mean", "clean-mean"):
        return ()
    filled = alignment.mean_groups["train", "clean" if ablation == "clean-mean" else "corrupt"].unique()
    positions: set[int] = set()
    for (split, side), groups in alignment.mean_groups.items():
        if side == "clean":
            empty = (groups >= 0) & ~torch.isin(groups, filled)
            positions |= set(alignment.ids[split, side][empty].tolist())
    return tuple(alignment.names[position] for position in sorted(positions))


def resample_rows(groups: Tensor, source: Tensor, answers: Answers, seed: int, places: Sequence[str]) -> Tensor:
    """Draws a source prompt for each prompt; returns the flat index of the source token that each token takes.

    Args:
        groups: `[row, position]` mean group of each token (`Alignment.mean_groups`), negative where nothing is spliced.
        source: the same for the corrupt train prompts.
        answers: of the prompts that tokens are drawn for.
        places: where each of them is from (`Pair.place`).
        seed: of the draw. One source prompt is drawn for each prompt, row for row, so that its activations belong
            together and both answers are read after the same. As far as the two agree both rows take the first's.

    Returns:
        `[row, position]`, -1 where nothing is spliced.

    Raises:
        UserError: no source prompt has the same mean groups as some prompt.
    """
    generator, rows_per_prompt = torch.Generator().manual_seed(seed), answers.rows_per_prompt
    by_groups: dict[tuple[tuple[int, ...], ...], list[int]] = defaultdict(list)
    for index, prompt in enumerate(source.split(rows_per_prompt)):
        by_groups[_sorted_groups(prompt)].append(index)
    taken = torch.full_like(groups, -1)
    for index, prompt in enumerate(groups.split(rows_per_prompt)):
        key = _sorted_groups(prompt)
        choices = by_groups.get(key)
        if not choices:
            raise UserError(
                f"--ablation resample: {places[index]}: no corrupt train prompt has the {max(map(len, key))} "
                f"positions of the clean prompt; use --ablation mean"
            )
        drawn = choices[int(torch.randint(len(choices), (1,), generator=generator))]
        first = index * rows_per_prompt
        for offset, row in enumerate(prompt):
            donor = drawn * rows_per_prompt + offset
            taken[first + offset, _by_group(row)] = donor * source.shape[1] + _by_group(source[donor])
        shared = int(answers.difference_column[index]) + 1
        taken[first + 1 : first + rows_per_prompt, :shared] = taken[first, :shared]
    return taken


def _sorted_groups(rows: Tensor) -> tuple[tuple[int, ...], ...]:
    """The mean groups of each row of a prompt, in ascending order."""
    return tuple(tuple(sorted(group for group in row if group >= 0)) for row in rows.tolist())


def _by_group(row: Tensor) -> Tensor:
    """The token indices of a row that have a mean group, by ascending group."""
    inside = (row >= 0).nonzero()[:, 0]
    return inside[row[inside].argsort(stable=True)]
