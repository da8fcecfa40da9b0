"""A site: where an SAE is spliced in, on the residual stream or inside a block.

on the stream    blocks.N.hook_resid_post, blocks.N.hook_resid_pre
inside a block   blocks.N.attn.hook_z (the heads' outputs side by side, before they are mixed), blocks.N.hook_attn_out
                 and blocks.N.hook_mlp_out (what attention and MLP add to the stream), blocks.N.hook_resid_mid (the
                 stream between the two)
transcoders      read the MLP's input (hook_mlp_in, mlp.hook_in, ln2.hook_normalized), replace hook_mlp_out

Several sites may be inside one block, which then runs once with all of them in place. They form one *group*; a site on
the stream is a group of its own.
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
# For a hook inside a block: the hook point whose output is replaced, and its order among the block's sites.
_STEPS = {
    "hook_z": ("attn.hook_z", 1),
    "hook_attn_out": ("hook_attn_out", 2),
    "hook_resid_mid": ("hook_attn_out", 3),
    "hook_mlp_out": ("hook_mlp_out", 4),
}
_MLP_INPUT = re.compile(r"blocks\.(\d+)\.(hook_mlp_in|mlp\.hook_in|ln2\.hook_normalized)")


@dataclass(frozen=True, slots=True)
class InsideBlock:
    """Where a site is inside a block.

    Attributes:
        read: the hook point whose output is the SAE's input.
        write: the hook point whose output is replaced.
        step: orders the sites of a block as the activations pass them.
        is_resid_mid: whether the SAE's input, and what it replaces, is the stream to which `write` has been added.
    """

    read: str
    write: str
    step: int
    is_resid_mid: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """A hook point with the SAE that is spliced in there.

    Attributes:
        hook: the name of the hook.
        depth: how many blocks run before it: ``blocks.7.hook_resid_post`` has depth 8.
        sae: the SAE.
        inside: None on the residual stream; otherwise the site is inside block `depth`, which runs as part of it.
    """

    hook: str
    depth: int
    sae: SiteSae
    inside: InsideBlock | None = None

    @property
    def depth_after(self) -> int:
        """How many blocks have run when the residual leaves the site's group."""
        return self.depth + (self.inside is not None)

    @property
    def replaces_stream(self) -> bool:
        """Whether it replaces all of the residual stream, not a part that is added to it."""
        return self.inside is None or self.inside.is_resid_mid

    @property
    def order(self) -> tuple[int, int]:
        """Sorts sites by the order in which activations pass them."""
        return self.depth, 0 if self.inside is None else self.inside.step

    @property
    def layer(self) -> int:
        """The block that the hook is at."""
        return int(self.hook.split(".")[1])

    @property
    def short(self) -> str:
        """A name of a few letters, such as ``L7`` (`Hook.short`)."""
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
    """`Site.depth` and `Site.inside` of an SAE that reads `hook` and replaces `out`; None where that is unsupported."""
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
        # sae-lens writes hook_mlp_in for a point after the norm; in TransformerLens that name is for one before it.
        name = "mlp.hook_in" if mlp[2] == "hook_mlp_in" else mlp[2]
        return layer, InsideBlock(f"blocks.{layer}.{name}", out, _STEPS["hook_mlp_out"][1])
    return None


def site_groups(sites: Sequence[Site]) -> tuple[range, ...]:
    """The groups of `sites`, which are in their order, as ranges of indices.

    A group is one site on the stream, or all sites inside one block.
    """
    found: list[range] = []
    last: int | None = None  # the block that the previous site is inside
    for index, site in enumerate(sites):
        block = None if site.inside is None else site.depth
        if block is not None and block == last:
            found[-1] = range(found[-1].start, index + 1)
        else:
            found.append(range(index, index + 1))
        last = block
    return tuple(found)


def site_group_of(sites: Sequence[Site], index: int) -> range:
    """The group that site number `index` belongs to, as a range of indices."""
    return next(group for group in site_groups(sites) if index in group)
