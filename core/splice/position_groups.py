"""Regroups tokens by position, so that one batched product serves each position with its own few latents.

A residual `[prompt, position, d_model]` becomes `[group, token, d_model]`: group `p` holds the tokens whose position id
is `p`, padded to the largest group. Both ways are row copies by index; so are their gradients, since no token is in two
groups.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import Tensor


class PositionGroups:
    """Where each token of one batch goes.

    Args:
        ids: `[prompt, position]` position id of each token; negative where nothing is spliced.
        n_groups: number of position ids.
    """

    def __init__(self, ids: Tensor, n_groups: int) -> None:
        flat = ids.reshape(-1)
        tokens = (flat >= 0).nonzero()[:, 0]
        order = tokens[flat[tokens].argsort(stable=True)]
        groups = flat[order]
        counts = torch.bincount(groups, minlength=n_groups)
        width = max(1, int(counts.max())) if len(order) else 1
        starts = counts.cumsum(0) - counts
        slots = groups * width + torch.arange(len(order), device=ids.device) - starts[groups]
        self.n_groups, self.width = n_groups, width
        self.take = torch.zeros(n_groups * width, dtype=torch.long, device=ids.device)
        self.take[slots] = order
        self.valid = torch.zeros(n_groups * width, 1, device=ids.device)
        self.valid[slots] = 1.0
        self.put = torch.zeros(flat.shape[0], dtype=torch.long, device=ids.device)
        self.put[order] = slots
        self.spliced = (flat >= 0).unsqueeze(1)

    def reordered(self, order: Tensor) -> PositionGroups:
        """The same with group `order[g]` in place `g`, `order` `[group]`."""
        layout = copy(self)
        rows = (order.unsqueeze(1) * self.width + torch.arange(self.width, device=order.device)).reshape(-1)
        layout.take, layout.valid = self.take[rows], self.valid[rows]
        layout.put = order.argsort()[self.put // self.width] * self.width + self.put % self.width
        return layout

    def group(self, x: Tensor) -> Tensor:
        """`[prompt, position, d]` to `[group, token, d]`; slots beyond a group's size hold some other token."""
        flat: Tensor = _Take.apply(x.reshape(-1, x.shape[-1]), self)  # type: ignore[no-untyped-call]
        return flat.reshape(self.n_groups, self.width, -1)

    def ungroup(self, grouped: Tensor, x: Tensor) -> Tensor:
        """`x` `[prompt, position, d]` with its spliced tokens replaced from `grouped` `[group, token, d]`."""
        flat: Tensor = _Put.apply(  # type: ignore[no-untyped-call]
            grouped.reshape(-1, x.shape[-1]), x.reshape(-1, x.shape[-1]), self
        )
        return flat.reshape(x.shape)


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layout: PositionGroups) -> Tensor:
        ctx.layout = layout
        return x.index_select(0, layout.take)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return torch.where(ctx.layout.spliced, grad.index_select(0, ctx.layout.put), 0.0), None


class _Put(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grouped: Tensor, x: Tensor, layout: PositionGroups) -> Tensor:
        ctx.layout = layout
        return torch.where(layout.spliced, grouped.index_select(0, layout.put), x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        to_x = torch.where(ctx.layout.spliced, 0.0, grad) if ctx.needs_input_grad[1] else None
        return grad.index_select(0, ctx.layout.take) * ctx.layout.valid, to_x, None
