"""A site: where an SAE is spliced in, on the residual stream or inside a block.

on the stream    blocks.N.hook_resid_post, blocks.N.hook_resid_pre
inside a block   blocks.N.hook_attn_out, blocks.N.hook_mlp_out (what attention and MLP add to the stream),
blocks.N.attn.hook_z (the heads' outputs side by side, before they are mixed)
transcoders      read the MLP's input (hook_mlp_in, mlp.hook_in, ln2.hook_normalized), replace hook_mlp_out
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from circuit_tui.core.errors import UserError
from circuit_tui.core.sae import SiteSae
from circuit_tui.core.sae_hook import Hook

_STREAM = re.compile(r"blocks\.(\d+)\.hook_(resid_post|resid_pre|out|in)")
_INSIDE = re.compile(r"blocks\.(\d+)\.(hook_attn_out|hook_mlp_out|attn\.hook_z|hook_z)")
_MLP_INPUT = re.compile(r"blocks\.(\d+)\.(hook_mlp_in|mlp\.hook_in|ln2\.hook_normalized)")


@dataclass(frozen=True, slots=True)
class Inside:
    """Hook points inside a block: what the SAE reads, and what its output replaces."""

    read: str
    write: str


@dataclass(frozen=True, slots=True)
class Site:
    """A hook point with the SAE spliced in there.

    `depth` counts the blocks that run before it: ``blocks.7.hook_resid_post`` has depth 8. `inside` is None on the
    residual stream; otherwise the site is inside block `depth`, which runs as part of it.
    """

    hook: str
    depth: int
    sae: SiteSae
    inside: Inside | None = None

    @property
    def after(self) -> int:
        """The blocks that have run when the residual leaves the site."""
        return self.depth + (self.inside is not None)

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
    stream, inside, mlp = _STREAM.fullmatch(hook), _INSIDE.fullmatch(hook), _MLP_INPUT.fullmatch(hook)
    if out in ("", hook) and stream is not None:
        return Site(hook, int(stream[1]) + (stream[2] in ("resid_post", "out")), sae)
    if out in ("", hook) and inside is not None:
        layer, name = int(inside[1]), inside[2]
        point = f"blocks.{layer}.{'attn.hook_z' if name == 'hook_z' else name}"
        return Site(hook, layer, sae, Inside(point, point))
    if mlp is not None and out == f"blocks.{mlp[1]}.hook_mlp_out":
        layer = int(mlp[1])
        # sae-lens writes hook_mlp_in for what follows the norm; in TransformerLens that name stands before it.
        name = "mlp.hook_in" if mlp[2] == "hook_mlp_in" else mlp[2]
        return Site(hook, layer, sae, Inside(f"blocks.{layer}.{name}", out))
    between = f"{hook!r}" if out in ("", hook) else f"{hook!r} to {out!r}"
    raise UserError(
        f"SAE {sae.name}: nothing can be spliced in at {between}; supported are hook_resid_post, hook_resid_pre, "
        "hook_attn_out, hook_mlp_out and attn.hook_z of a block, and transcoders from the MLP's input to hook_mlp_out"
    )
