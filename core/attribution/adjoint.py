"""The frozen path backwards: how a direction in the stream at one token depends on the streams before.

With attention patterns and norm scales held and MLP outputs constant, blocks l..t-1 are linear in the stream x_l. For a
direction g at depth t, `Adjoint` holds directions u_k with

    g . x_t  =  sum over k, tokens q of  u_k(q) . x_l(q)  +  what MLPs and biases of the blocks on the way give

one k for each last head on the way, and one for the way past all heads. A path through two heads counts at the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.attribution.parts import Head
from circuit_tui.core.attribution.plain_run import PlainRun


@dataclass(frozen=True, slots=True)
class Adjoint:
    """Directions at the stream that enters one block.

    Attributes:
        ways: the last head of each way; None past all heads.
        directions: `[way, position, d_model]`.
        blocks: for each block on the way, what its MLP and its biases give to g . x_t.
    """

    ways: tuple[Head | None, ...]
    directions: Tensor
    blocks: dict[int, float]


@torch.no_grad()
def pull_back(run: PlainRun, directions: Tensor, depth: int, to: int) -> Adjoint:
    """Pulls `directions` `[position, d_model]` at depth `depth` back to depth `to`, block by block."""
    past, heads = directions.unsqueeze(0), directions.new_zeros(0, *directions.shape)
    ways: tuple[Head | None, ...] = ()
    blocks: dict[int, float] = {}
    for layer in reversed(range(to, depth)):
        everything = past[0] + heads.sum(0)
        constant = run.streams[layer + 1] - run.streams[layer] - through_heads(run, layer, run.streams[layer])
        blocks[layer] = float((constant * everything).sum())
        own = _by_head(run, layer, past)[0]
        heads = torch.cat([own, heads + _by_head(run, layer, heads).sum(1)]) if len(heads) else own
        ways = (*((layer, head) for head in range(len(own))), *ways)
    return Adjoint((None, *ways), torch.cat([past, heads]), dict(sorted(blocks.items())))


def through_heads(run: PlainRun, layer: int, stream: Tensor) -> Tensor:
    """What the heads of a block add for `stream` `[position, d_model]`, without any bias, `[position, d_model]`."""
    freezes = run.freezes
    normed = freezes.norms[layer].linear(stream) / freezes.scales[layer][0]
    value = torch.einsum("qd,hde->hqe", normed, freezes.heads[layer].value)
    mixed = torch.einsum("hpe,hed->pd", freezes.patterns[layer][0] @ value, freezes.heads[layer].output)
    post = freezes.post_scales[layer]
    return mixed if post is None else mixed / post[0]


def _by_head(run: PlainRun, layer: int, directions: Tensor) -> Tensor:
    """`directions` `[way, position, d_model]` behind a block, through each of its heads: `[way, head, ...]`."""
    freezes = run.freezes
    post = freezes.post_scales[layer]
    behind = directions if post is None else directions / post[0]
    z = torch.einsum("kpd,hed->khpe", behind, freezes.heads[layer].output)
    value = torch.einsum("hpq,khpe->khqe", freezes.patterns[layer][0], z)
    normed = torch.einsum("khqe,hde->khqd", value, freezes.heads[layer].value)
    return freezes.norms[layer].adjoint(normed) / freezes.scales[layer][0]
