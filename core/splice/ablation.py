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

from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.choices import AblationKind
from circuit_tui.core.runtime.machine import precise_dtype
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
        dtype = precise_dtype(device)
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
