"""Replaces the output of hook points while the model runs: how an SAE gets into a pass.

A group of sites is one site on the residual stream, or all sites inside one block (`saes/site.py`). On the stream a
patch is applied to the stream itself. Inside a block the block runs once, and the patches are applied to its hook
points as the activations pass them: each sees what those before it have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.models.block_runner import BlockRunner
from circuit_tui.core.models.compat.norm_hook_points import HookPointReader
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.saes.site import InsideBlock, Site, site_group_of

HookPatch = Callable[[Tensor, Tensor], Tensor]
"""Maps the SAE's input `[prompt, position, d_in]` and the hook's output `[prompt, position, d_out]` to a new output.

On the residual stream both are the stream.
"""


def run_patched(runner: BlockRunner, site_group: Sequence[Site], resid: Tensor, patches: Sequence[HookPatch]) -> Tensor:
    """Runs one group of sites with `patches` and returns the residual stream after it.

    `resid` `[prompt, position, d_model]` is the stream before the group.
    """
    if site_group[0].inside is None:
        (patch,) = patches
        return patch(resid, resid)
    points = [site.inside for site in site_group if site.inside]
    return _run_block(runner, points, site_group[0].depth, resid, patches)


def sae_input(
    runner: BlockRunner, site_group: Sequence[Site], resid: Tensor, patches: Sequence[HookPatch] = ()
) -> tuple[Tensor, Tensor]:
    """The input of one site's SAE and the output that it would replace, when `resid` enters the site's group.

    `patches` belong to the first sites of the group; the site is the one that follows these.
    """
    site = site_group[len(patches)]
    if site.inside is None:
        return resid, resid
    seen: list[tuple[Tensor, Tensor]] = []

    def look(x: Tensor, output: Tensor) -> Tensor:
        seen.append((x, output))
        return output

    run_patched(runner, site_group[: len(patches) + 1], resid, [*patches, look])
    return seen[0]


def input_at_site(
    runner: BlockRunner, sites: Sequence[Site], index: int, resid: Tensor, patches: Sequence[HookPatch]
) -> Tensor:
    """The input of the SAE of site number `index` when `resid` enters its group; `patches` are those of all `sites`."""
    group = site_group_of(sites, index)
    return sae_input(runner, sites[group.start : group.stop], resid, patches[group.start : index])[0]


def output_direction(model: LanguageModel, site: Site, direction: Tensor) -> Tensor:
    """What a decoder direction `[d_out]` adds to the residual stream, `[d_model]`, if no norm follows."""
    if site.inside is None or not site.inside.write.endswith("attn.hook_z"):
        return direction
    w_o: Tensor = model.bridge.blocks[site.depth].attn.W_O
    return direction.to(w_o) @ w_o.reshape(-1, w_o.shape[-1])


def _run_block(
    runner: BlockRunner, points: Sequence[InsideBlock], layer: int, resid: Tensor, patches: Sequence[HookPatch]
) -> Tensor:
    """Runs block number `layer` on `resid` with one patch for each of `points`.

    Raises:
        UserError: nothing passes one of the hook points, so that nothing can be spliced in there.
    """
    unreached = {point.write for point in points}
    handles: list[Any] = []
    runner.record(resid.shape[1])
    try:
        for point, patch in zip(points, patches, strict=True):
            handles += _attach(runner, point, resid, patch, unreached)
        after = runner.run_blocks(resid, layer, layer + 1)
    finally:
        for handle in handles:
            handle.remove()
    if unreached:
        name = unreached.pop()
        raise UserError(f"--model {runner.name}: nothing passes the hook {name}: no SAE can be spliced in there")
    return after


def _attach(runner: BlockRunner, point: InsideBlock, resid: Tensor, patch: HookPatch, unreached: set[str]) -> list[Any]:
    """Attaches the hooks of one `patch`; torch calls the hooks of a module in the order in which they were attached."""
    output_point = runner.hook_point(point.write)
    layout = runner.to_block_layout(resid[..., :1])
    reader = None if point.read == point.write else HookPointReader(runner.hook_point(point.read))

    def write(_: Any, __: Any, out: Tensor) -> Tensor:
        unreached.discard(point.write)
        output = runner.from_block_layout(_heads_merged(out, layout))
        if point.is_resid_mid:
            stream = resid + output
            return _shaped_like(out, runner.to_block_layout(patch(stream, stream) - resid))
        x = output if reader is None else runner.from_block_layout(_heads_merged(reader.values[0], layout))
        return _shaped_like(out, runner.to_block_layout(patch(x, output)))

    handles: list[Any] = [output_point.register_forward_hook(write)]
    return handles if reader is None else [*handles, reader]


def _heads_merged(x: Tensor, layout: Tensor) -> Tensor:
    """`x` as `[row, position, d]`, heads side by side, with the rows, positions and device of `layout`."""
    return x.reshape(*layout.shape[:2], -1).to(layout.device)


def _shaped_like(like: Tensor, x: Tensor) -> Tensor:
    """`x` with shape, dtype and device of `like`."""
    return x.reshape(like.shape).to(like)
