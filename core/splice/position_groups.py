"""Regroups tokens by position, so that one batched product serves each position with its own few latents.

A tensor `[prompt, position, d]` becomes `[group, token, d]`: group `p` holds the tokens whose position id is `p`,
padded to the largest group. Both ways are row copies by index; so are their gradients, since no token is in two groups.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import Tensor


class PositionGroups:
    """The groups of one batch's tokens.

    Args:
        ids: `[prompt, position]` position id of each token; negative where nothing is spliced.
        n_groups: number of position ids.
        width: tokens in each group, padding included; the largest group's if None, which asks the device.

    Attributes:
        n_groups, width: number of groups, and of tokens in each, padding included.
        gather_index: `[group x token]` the token of the batch that goes there; 0 in padding.
        is_token: `[group x token, 1]` float32, 1 where a token goes, 0 in padding.
        scatter_index: `[prompt x position]` where each token is among the groups; 0 where nothing is spliced.
        spliced: `[prompt x position, 1]` bool, false where nothing is spliced.
    """

    def __init__(self, ids: Tensor, n_groups: int, width: int | None = None) -> None:
        flat, device = ids.reshape(-1), ids.device
        spliced = flat >= 0
        # By group, tokens that are not spliced last; every size here follows from those of the arguments.
        groups, order = torch.where(spliced, flat, n_groups).sort(stable=True)
        starts = torch.searchsorted(groups, torch.arange(n_groups + 1, device=device))
        if width is None:
            width = max(1, int(starts.diff().max())) if n_groups else 1
        self.n_groups, self.width, n_places = n_groups, width, n_groups * width
        places = groups * width + torch.arange(len(order), device=device) - starts[groups]
        places = torch.where(groups < n_groups, places, n_places)  # one place beyond the last, cut off below
        self.gather_index = torch.zeros(n_places + 1, dtype=torch.long, device=device).scatter_(0, places, order)[:-1]
        self.is_token = torch.zeros(n_places + 1, 1, device=device).index_fill_(0, places, 1.0)[:-1]
        self.scatter_index = torch.empty_like(flat).scatter_(0, order, torch.where(places < n_places, places, 0))
        self.spliced = spliced.unsqueeze(1)

    def reordered(self, order: Tensor) -> PositionGroups:
        """These groups in another order: number `g` is now `order[g]`; `order` `[group]`."""
        groups = copy(self)
        places = (order.unsqueeze(1) * self.width + torch.arange(self.width, device=order.device)).reshape(-1)
        groups.gather_index, groups.is_token = self.gather_index[places], self.is_token[places]
        group, token = self.scatter_index // self.width, self.scatter_index % self.width
        groups.scatter_index = order.argsort()[group] * self.width + token
        return groups

    def circuits(self, n: int) -> Tensor:
        """The circuit of each token, `[group, token]`, if rows are those of `n` circuits one after the other.

        0 in padding.
        """
        return (self.gather_index // (len(self.spliced) // n)).reshape(self.n_groups, self.width)

    def group(self, x: Tensor) -> Tensor:
        """`[prompt, position, d]` to `[group, token, d]`; padding holds some other token."""
        flat: Tensor = _Group.apply(x.reshape(-1, x.shape[-1]), self)  # type: ignore[no-untyped-call]
        return flat.reshape(self.n_groups, self.width, -1)

    def ungroup(self, grouped: Tensor, x: Tensor) -> Tensor:
        """`x` `[prompt, position, d]` with its spliced tokens replaced from `grouped` `[group, token, d]`."""
        flat: Tensor = _Ungroup.apply(  # type: ignore[no-untyped-call]
            grouped.reshape(-1, x.shape[-1]), x.reshape(-1, x.shape[-1]), self
        )
        return flat.reshape(x.shape)


class _Group(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: PositionGroups) -> Tensor:
        ctx.groups = groups
        return x.index_select(0, groups.gather_index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return torch.where(ctx.groups.spliced, grad.index_select(0, ctx.groups.scatter_index), 0.0), None


class _Ungroup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grouped: Tensor, x: Tensor, groups: PositionGroups) -> Tensor:
        ctx.groups = groups
        return torch.where(groups.spliced, grouped.index_select(0, groups.scatter_index), x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        groups = ctx.groups
        to_x = torch.where(groups.spliced, 0.0, grad) if ctx.needs_input_grad[1] else None
        return grad.index_select(0, groups.gather_index) * groups.is_token, to_x, None
