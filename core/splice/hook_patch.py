"""Past a stop: from the residual stream that enters it to the one that leaves it.

On the stream that is the splice itself. Inside a block the block runs once, and what its hook points put out is
replaced on the way, at each in turn with what the ones before have left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.saes.site import InsideBlock, Site, site_group_of

HookPatch = Callable[[Tensor, Tensor], Tensor]
"""From what the SAE reads `[prompt, position, d_in]` and what is there `[prompt, position, d_out]` to what will be."""


def run_patched(model: LanguageModel, stop: Sequence[Site], resid: Tensor, patches: Sequence[HookPatch]) -> Tensor:
    """The residual `[prompt, position, d_model]` that leaves the sites of a stop, of `resid` that enters them."""
    if stop[0].inside is None:
        (patch,) = patches
        return patch(resid, resid)
    return _run_block(model, [site.inside for site in stop if site.inside], stop[0].depth, resid, patches)


def sae_input(
    model: LanguageModel, stop: Sequence[Site], resid: Tensor, before: Sequence[HookPatch] = ()
) -> tuple[Tensor, Tensor]:
    """What the SAE of one site of a stop reads and what it would replace, when the residual `resid` enters the stop.

    The site is that of `stop` which comes after those that `before` changes.
    """
    site = stop[len(before)]
    if site.inside is None:
        return resid, resid
    seen: list[tuple[Tensor, Tensor]] = []

    def look(x: Tensor, out: Tensor) -> Tensor:
        seen.append((x, out))
        return out

    run_patched(model, stop[: len(before) + 1], resid, [*before, look])
    return seen[0]


def input_at_site(
    model: LanguageModel, sites: Sequence[Site], index: int, resid: Tensor, patches: Sequence[HookPatch]
) -> Tensor:
    """What the SAE of site number `index` reads when `resid` enters its stop; `patches` are those of all `sites`."""
    stop = site_group_of(sites, index)
    return sae_input(model, sites[stop.start : stop.stop], resid, patches[stop.start : index])[0]


def check_resid_mid(model: LanguageModel, site: Site) -> None:
    """Makes sure that what a site takes for the stream within a block is what the model's second norm is given.

    Raises:
        UserError: the block has no such place, since its attention and MLP run side by side, or scales what it adds.
    """
    if site.inside is None or not site.inside.is_resid_mid:
        return
    seen: list[Tensor] = []
    refusal = UserError(
        f"SAE {site.sae.name}: there is no {site.hook} in the blocks of {model.name} to splice it in at"
    )
    if site.hook not in model.bridge.hook_dict:
        raise refusal
    handle = _point(model, site.hook).register_forward_hook(lambda _, __, out: seen.append(out))
    try:
        with torch.no_grad():
            resid = model.embed(torch.zeros(1, 2, dtype=torch.long))
            x, _ = sae_input(model, [site], model.blocks(resid, 0, site.depth))
    finally:
        handle.remove()
    if not torch.allclose(x, seen[-1].to(x.device), rtol=1e-2, atol=1e-3):
        raise refusal


def output_direction(model: LanguageModel, site: Site, direction: Tensor) -> Tensor:
    """What a decoder direction `[d_out]` adds to the residual stream, `[d_model]`, norms behind it left out."""
    if site.inside is None or not site.inside.write.endswith("attn.hook_z"):
        return direction
    mix: Tensor = model.bridge.blocks[site.depth].attn.W_O
    return direction.to(mix) @ mix.reshape(-1, mix.shape[-1])


def _run_block(
    model: LanguageModel, points: Sequence[InsideBlock], layer: int, resid: Tensor, patches: Sequence[HookPatch]
) -> Tensor:
    missed = {point.write for point in points}
    handles = []
    for point, patch in zip(points, patches, strict=True):
        handles += _attach(model, point, resid, patch, missed)
    try:
        after = model.blocks(resid, layer, layer + 1)
    finally:
        for handle in handles:
            handle.remove()
    if missed:
        raise UserError(f"--model {model.name}: nothing passes the hook {missed.pop()}: no SAE can be spliced in there")
    return after


def _attach(model: LanguageModel, point: InsideBlock, resid: Tensor, patch: HookPatch, missed: set[str]) -> list[Any]:
    """The hooks that make one `patch`; torch calls those of one module in the order in which they were attached."""
    read: list[Tensor] = []

    def writing(_: Any, __: Any, out: Tensor) -> Tensor:
        missed.discard(point.write)
        there = model.from_blocks(_flat(out, resid))
        if point.is_resid_mid:
            stream = resid + there
            return _as(model.to_blocks(patch(stream, stream) - resid), out)
        x = there if point.read == point.write else model.from_blocks(_flat(read[0], resid))
        return _as(model.to_blocks(patch(x, there)), out)

    handles: list[Any] = [_point(model, point.write).register_forward_hook(writing)]
    if point.read != point.write:
        handles.append(_Reading(_point(model, point.read), read))
    return handles


class _Reading:
    """Keeps what passes a hook point in `read`, until it is removed.

    Through the point's own list of hooks: a norm of the bridge leaves no gradient on what its hook points show unless
    that list holds one.
    """

    def __init__(self, point: Any, read: list[Tensor]) -> None:
        def keep(x: Tensor, hook: Any) -> None:
            read[:] = [x]

        point.add_hook(keep)
        self._point, self._handle = point, point.fwd_hooks[-1]

    def remove(self) -> None:
        """Leaves the point as it was."""
        self._handle.hook.remove()
        self._point.fwd_hooks.remove(self._handle)


def _point(model: LanguageModel, name: str) -> torch.nn.Module:
    points = model.bridge.hook_dict
    if name not in points:
        raise UserError(f"--model {model.name}: the model has no hook {name}")
    point: torch.nn.Module = points[name]
    return point


def _flat(x: Tensor, resid: Tensor) -> Tensor:
    """`[prompt, position, d]`, also of heads side by side, on the device of `resid`, the stream between blocks."""
    return x.reshape(*resid.shape[:2], -1).to(resid.device)


def _as(x: Tensor, like: Tensor) -> Tensor:
    return x.reshape(like.shape).to(like)
