"""Past a site: from the residual stream that enters it to the one that leaves it.

On the stream that is the splice itself. Inside a block the block runs, and what one of its hook points puts out is
replaced on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.model import LanguageModel
from circuit_tui.core.site import Inside, Site

Change = Callable[[Tensor, Tensor], Tensor]
"""From what the SAE reads `[prompt, position, d_in]` and what is there `[prompt, position, d_out]` to what will be."""


def past(model: LanguageModel, site: Site, resid: Tensor, change: Change) -> Tensor:
    """The residual `[prompt, position, d_model]` after `site.after` blocks, of `resid`, that after `site.depth`."""
    if site.inside is None:
        return change(resid, resid)
    return _run_block(model, site.depth, site.inside, resid, change)


def arriving(model: LanguageModel, site: Site, resid: Tensor) -> tuple[Tensor, Tensor]:
    """What the SAE reads and what it would replace, when the residual `resid` enters the site."""
    if site.inside is None:
        return resid, resid
    seen: list[tuple[Tensor, Tensor]] = []

    def look(x: Tensor, out: Tensor) -> Tensor:
        seen.append((x, out))
        return out

    _run_block(model, site.depth, site.inside, resid, look)
    return seen[0]


def output_direction(model: LanguageModel, site: Site, direction: Tensor) -> Tensor:
    """What a decoder direction `[d_out]` adds to the residual stream, `[d_model]`, norms behind it left out."""
    if site.inside is None or not site.inside.write.endswith("attn.hook_z"):
        return direction
    mix: Tensor = model.bridge.blocks[site.depth].attn.W_O
    return direction.to(mix.dtype) @ mix.reshape(-1, mix.shape[-1])


def _run_block(model: LanguageModel, layer: int, inside: Inside, resid: Tensor, change: Change) -> Tensor:
    read: list[Tensor] = []
    changed = False

    def reading(_: Any, __: Any, out: Tensor) -> None:
        read[:] = [out]

    def writing(_: Any, __: Any, out: Tensor) -> Tensor:
        nonlocal changed
        changed = True
        x = read[0] if inside.read != inside.write else out
        return _as(change(_flat(x, resid), _flat(out, resid)), out)

    handles = [_point(model, inside.write).register_forward_hook(writing)]
    if inside.read != inside.write:
        handles.append(_point(model, inside.read).register_forward_hook(reading))
    try:
        after = model.blocks(resid, layer, layer + 1)
    finally:
        for handle in handles:
            handle.remove()
    if not changed:
        raise UserError(f"--model {model.name}: nothing passes the hook {inside.write}: no SAE can be spliced in there")
    return after


def _point(model: LanguageModel, name: str) -> torch.nn.Module:
    points = model.bridge.hook_dict
    if name not in points:
        raise UserError(f"--model {model.name}: the model has no hook {name}")
    point: torch.nn.Module = points[name]
    return point


def _flat(x: Tensor, resid: Tensor) -> Tensor:
    """`[prompt, position, d]`, also of heads side by side."""
    return x.reshape(*resid.shape[:2], -1)


def _as(x: Tensor, like: Tensor) -> Tensor:
    return x.reshape(like.shape).to(like.dtype)
