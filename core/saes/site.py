"""A site: where an SAE is spliced in, on the residual stream or inside a block.

on the stream    blocks.N.hook_resid_post, blocks.N.hook_resid_pre
inside a block   blocks.N.attn.hook_z (the heads' outputs side by side, before they are mixed), blocks.N.hook_attn_out
                 and blocks.N.hook_mlp_out (what attention and MLP add to the stream), blocks.N.hook_resid_mid (the
                 stream between the two)
transcoders      read the MLP's input (hook_mlp_in, mlp.hook_in, ln2.hook_normalized), replace hook_mlp_out

Several sites may be inside one block. The block then runs once with all of them in place: a stop.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from circuit_tui.core.errors import UserError
from circuit_tui.core.saes.hook_names import Hook
from circuit_tui.core.saes.sae import SiteSae

_STREAM = re.compile(r"blocks\.(\d+)\.hook_(resid_post|resid_pre|out|in)")
_INSIDE = re.compile(r"blocks\.(\d+)\.(hook_attn_out|hook_mlp_out|attn\.hook_z|hook_z|hook_resid_mid)")
# Where in the block, and what is written there.
_STEPS = {
    "hook_z": ("attn.hook_z", 1),
    "hook_attn_out": ("hook_attn_out", 2),
    "hook_resid_mid": ("hook_attn_out", 3),
    "hook_mlp_out": ("hook_mlp_out", 4),
}
_MLP_INPUT = re.compile(r"blocks\.(\d+)\.(hook_mlp_in|mlp\.hook_in|ln2\.hook_normalized)")


@dataclass(frozen=True, slots=True)
class InsideBlock:
    """Hook points inside a block: what the SAE reads, and what its output replaces.

    `step` orders the sites of a block as the activations pass them. With `is_resid_mid` the SAE reads, and replaces, the
    stream once `write` has been added to it.
    """

    read: str
    write: str
    step: int
    is_resid_mid: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """A hook point with the SAE spliced in there.

    `depth` counts the blocks that run before it: ``blocks.7.hook_resid_post`` has depth 8. `inside` is None on the
    residual stream; otherwise the site is inside block `depth`, which runs as part of it.
    """

    hook: str
    depth: int
    sae: SiteSae
    inside: InsideBlock | None = None

    @property
    def depth_after(self) -> int:
        """The blocks that have run when the residual leaves the site."""
        return self.depth + (self.inside is not None)

    @property
    def order(self) -> tuple[int, int]:
        """Sites in the order of their places are in the order in which activations pass them."""
        return self.depth, 0 if self.inside is None else self.inside.step

    @property
    def layer(self) -> int:
        """The block that the hook is at."""
        return int(self.hook.split(".")[1])

    @property
    def short(self) -> str:
        """A name of a few letters, such as ``L7``: see `Hook.short`."""
        return Hook(self.hook, self.sae.hook_out).short


def site_of(sae: SiteSae) -> Site:
    """The site of an SAE, by the hooks that its configuration names.

    Raises:
        UserError: hooks at which nothing can be spliced in.
    """
    hook, out = sae.hook, sae.hook_out
    found = locate_hooks(hook, out)
    if found is not None:
        return Site(hook, found[0], sae, found[1])
    between = f"{hook!r}" if out in ("", hook) else f"{hook!r} to {out!r}"
    raise UserError(
        f"SAE {sae.name}: nothing can be spliced in at {between}; supported are hook_resid_post, hook_resid_pre, "
        "hook_resid_mid, hook_attn_out, hook_mlp_out and attn.hook_z of a block, and transcoders from the MLP's input "
        "to hook_mlp_out"
    )


def locate_hooks(hook: str, out: str) -> tuple[int, InsideBlock | None] | None:
    """`Site.depth` and `Site.inside` of an SAE that reads `hook` and replaces `out`; None where none can be."""
    stream, inside, mlp = _STREAM.fullmatch(hook), _INSIDE.fullmatch(hook), _MLP_INPUT.fullmatch(hook)
    if out in ("", hook) and stream is not None:
        return int(stream[1]) + (stream[2] in ("resid_post", "out")), None
    if out in ("", hook) and inside is not None:
        layer = int(inside[1])
        name, step = _STEPS[inside[2].removeprefix("attn.")]
        point = f"blocks.{layer}.{name}"
        return layer, InsideBlock(point, point, step, is_resid_mid=inside[2] == "hook_resid_mid")
    if mlp is not None and out == f"blocks.{mlp[1]}.hook_mlp_out":
        layer = int(mlp[1])
        # sae-lens writes hook_mlp_in for what follows the norm; in TransformerLens that name stands before it.
        name = "mlp.hook_in" if mlp[2] == "hook_mlp_in" else mlp[2]
        return layer, InsideBlock(f"blocks.{layer}.{name}", out, _STEPS["hook_mlp_out"][1])
    return None


def site_groups(sites: Sequence[Site]) -> tuple[range, ...]:
    """The indices of `sites`, ordered by place, stop by stop: one site on the stream, or all those inside one block."""
    found: list[range] = []
    last: int | None = None  # the block that the site before is inside
    for index, site in enumerate(sites):
        block = None if site.inside is None else site.depth
        if block is not None and block == last:
            found[-1] = range(found[-1].start, index + 1)
        else:
            found.append(range(index, index + 1))
        last = block
    return tuple(found)


def site_group_of(sites: Sequence[Site], index: int) -> range:
    """The stop that site number `index` belongs to."""
    return next(stop for stop in site_groups(sites) if index in stop)
