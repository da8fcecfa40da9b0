"""The frozen part of edges, split by the last head on the way.

With attention patterns, norm scales and MLP outputs held, what a source writes moves through the blocks linearly. With
d_l the perturbation that enters block l, and h one of its heads,

    d_(l+1) = d_l + sum over h of OV_h(norm_l(d_l))
    part(l, h) = OV_h(norm_l(d_l)) . e_b        "past all heads" = (what the source wrote) . e_b

The parts of an edge add up to its frozen part, (f_a - r_a) d_a^T J e_b: a path through two heads is in the part of the
second. What replaces a head's output or the stream on the way lets nothing through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.edges.circuit_pass import CircuitPass
from circuit_tui.core.edges.ends import TOKENS, is_parallel
from circuit_tui.core.edges.freezes import Freezes, Norm
from circuit_tui.core.saes.site import Site


@dataclass(frozen=True, slots=True)
class FrozenPart:
    """The frozen parts of the edges from some sources at one site to the targets at another, prompt by prompt.

    Attributes:
        target: index of the target site, or the number of sites for the logit difference.
        past: `[source, target, prompt]` what gets there past all heads.
        heads: for each block on the way `[source, target, head, prompt]`.
    """

    target: int
    past: Tensor
    heads: dict[int, Tensor]

    @property
    def total(self) -> Tensor:
        """The frozen part `[source, target, prompt]`."""
        return self.past + sum((part.sum(2) for part in self.heads.values()), torch.zeros_like(self.past))


Projection = Callable[[Tensor, Tensor | None], Tensor]
"""From `[view, row, position, d]`, and the output weights of a head whose output it is, to `[view, target, prompt]`."""


@torch.no_grad()
def frozen_parts(circuit: CircuitPass, freezes: Freezes, source: int, change: Tensor) -> Iterator[FrozenPart]:
    """Yields the frozen parts of the edges from `source` to each site that they can reach.

    `change` `[view, row, position, d_out]` is what each source at that site writes.
    """
    sweep = _FrozenSweep(circuit, freezes, source, change)
    for target in range(source + 1, circuit.space.reach_of(source) + 1):
        yield sweep.parts_at(target)


class _FrozenSweep:
    """Moves a change from block to block; each target takes its parts when the change has come to it."""

    def __init__(self, circuit: CircuitPass, freezes: Freezes, source: int, change: Tensor) -> None:
        self.circuit, self.freezes, self.source = circuit, freezes, source
        self.sites, self.n_layers = circuit.problem.sites, circuit.problem.model.n_layers
        self._parallel = is_parallel(circuit.problem)
        self._heads_blocked = {
            site.depth
            for index, site in enumerate(self.sites)
            if index > source and _replaces(site, "hook_z", "hook_attn_out")
        }
        from_heads = source != TOKENS and _replaces(self.sites[source], "hook_z")
        self.written = self._to_stream(change) if from_heads else change
        self.change = change
        self.moved = self.written.clone()
        self.layer = 0 if source == TOKENS else self.sites[source].depth_after
        # For each block that has run: what its heads put into the stream before their output weights.
        self.z: dict[int, Tensor] = {}

    def parts_at(self, target: int) -> FrozenPart:
        """The parts at site number `target`, or at the logits."""
        site = None if target == len(self.sites) else self.sites[target]
        last = self.n_layers if site is None else site.depth
        self._replace_streams(target)
        while self.layer < last:
            self._run_layer(self.layer)
            self._replace_streams(target)
        if site is None or site.inside is None:
            return self._stream_parts(target)
        return self._inside_parts(target, site)

    def _to_stream(self, z: Tensor) -> Tensor:
        """What heads' outputs `[..., row, position, d_heads]` at the source's block put into the stream."""
        layer = self.sites[self.source].depth
        behind = self.sites[self.source + 1 :]
        blocked = any(site.depth == layer and _replaces(site, "hook_attn_out") for site in behind)
        return torch.zeros_like(self._mixed(layer, z)) if blocked else self._mixed(layer, z)

    def _mixed(self, layer: int, z: Tensor) -> Tensor:
        output, post = self.freezes.heads[layer].output, self.freezes.post_scales[layer]
        mixed = z @ output.reshape(-1, output.shape[-1])
        return mixed if post is None else mixed / post

    def _head_outputs(self, layer: int) -> Tensor:
        """What the change does to each head's output, `[view, row, position, head, d_head]`."""
        freezes = self.freezes
        normed = freezes.norms[layer].linear(self.moved) / freezes.scales[layer]
        value = torch.einsum("vrpd,hde->vrhpe", normed, freezes.heads[layer].value)
        return (freezes.patterns[layer] @ value).movedim(2, 3)

    def _run_layer(self, layer: int) -> None:
        if layer not in self._heads_blocked:
            self.z[layer] = self._head_outputs(layer)
            self.moved = self.moved + self._mixed(layer, self.z[layer].flatten(-2))
        self.layer = layer + 1

    def _replace_streams(self, target: int) -> None:
        """Drops from the stream what sites before `target` replace there, at the tokens that they splice."""
        for index in range(self.source + 1, target):
            site = self.sites[index]
            if site.replaces_stream and site.depth_after == self.layer:
                self.moved = torch.where(self.circuit.spliced, 0.0, self.moved)

    def _replaced_since(self, target: int) -> int:
        """The first block whose heads count at `target`: the depth of the last stream site on the way, or -1."""
        between = self.sites[self.source + 1 : target]
        return max((site.depth_after for site in between if site.replaces_stream), default=-1)

    def _stream_parts(self, target: int, extra: dict[int, Tensor] | None = None) -> FrozenPart:
        since = self._replaced_since(target)
        past = self.written if since < 0 else torch.zeros_like(self.written)
        heads = {layer: z for layer, z in {**self.z, **(extra or {})}.items() if layer >= since}
        project = self._project_to_logits if target == len(self.sites) else self._projection_to(target)
        parts = {layer: self._by_head(project, layer, z) for layer, z in heads.items()}
        return FrozenPart(target, project(past, None), parts)

    def _inside_parts(self, target: int, site: Site) -> FrozenPart:
        assert site.inside is not None
        layer = site.depth
        source = None if self.source == TOKENS else self.sites[self.source]
        same_block = source is not None and source.inside is not None and source.depth == layer
        n = len(self.circuit.space.latents_of(target))
        if _replaces(site, "hook_z"):
            z = self._head_outputs(layer)
            slope = self.circuit.nodes[target].slope_of_input().reshape(*z.shape[-2:], n)
            by_head = [self._averaged(target, z[..., head, :] @ slope[head]) for head in range(z.shape[-2])]
            nothing = torch.zeros_like(by_head[0])
            return FrozenPart(target, nothing, {layer: torch.stack(by_head, 2)})
        if _replaces(site, "hook_attn_out"):
            if same_block:
                written = self._mixed(layer, self.change)
                return FrozenPart(target, self._projection_to(target)(written, None), {})
            nothing = self._averaged(target, self.written.new_zeros(*self.written.shape[:3], n))
            passes = self._heads_pass(target)
            project = self._projection_to(target)
            parts = {layer: self._by_head(project, layer, self._head_outputs(layer))} if passes else {}
            return FrozenPart(target, nothing, parts)
        if site.inside.read == site.inside.write and not site.replaces_stream:
            # An SAE on the MLP's output: the MLP is held.
            return FrozenPart(target, self._averaged(target, self.written.new_zeros(*self.written.shape[:3], n)), {})
        if same_block or (self._parallel and not site.replaces_stream) or not self._heads_pass(target):
            return self._stream_parts(target)
        return self._stream_parts(target, {layer: self._head_outputs(layer)})

    def _heads_pass(self, target: int) -> bool:
        """Whether no site between the source and `target` replaces what the heads of the target's block add."""
        depth = self.sites[target].depth
        between = self.sites[self.source + 1 : target]
        return not any(
            site.depth == depth and site.inside is not None
            and site.inside.write.endswith(("hook_z", "hook_attn_out"))
            for site in between
        )  # fmt: skip

    def _by_head(self, project: Projection, layer: int, z: Tensor) -> Tensor:
        """The parts `[source, target, head, prompt]` of what heads put out, `z` as of `_head_outputs`."""
        post = self.freezes.post_scales[layer]
        z = z if post is None else z / post.unsqueeze(-1)
        outputs = self.freezes.heads[layer].output
        return torch.stack([project(z[..., head, :], output) for head, output in enumerate(outputs)], 2)

    # -- what targets read -------------------------------------------------------------------------------------------

    def _averaged(self, target: int, x: Tensor) -> Tensor:
        """`x` `[view, row, position, node]` averaged over the nodes' tokens, in units of z, `[view, node, prompt]`."""
        scale = self.circuit.nodes[target].token_scale(self.circuit.inputs[target])
        return self.circuit.mean_over_tokens(target, x if scale is None else x / scale)

    def _projection_to(self, target: int) -> Projection:
        site = self.sites[target]
        encoder, scale = self.circuit.nodes[target].slope_of_input(), None
        if site.inside is not None and site.inside.read != site.inside.write:
            norm, scale = self.freezes.mlp_norms[site.depth], self.freezes.mlp_scales[site.depth]
            assert norm is not None
            if site.inside.read.endswith("hook_normalized"):
                norm = Norm(torch.ones_like(norm.gain), norm.centred)
            encoder = norm.adjoint(encoder.t()).t()

        def project(x: Tensor, output: Tensor | None) -> Tensor:
            read = x @ (encoder if output is None else output @ encoder)
            return self._averaged(target, read if scale is None else read / scale)

        return project

    def _project_to_logits(self, x: Tensor, output: Tensor | None) -> Tensor:
        """The logit difference `[view, 1, prompt]` of `x` `[view, row, position, d]`, in the last stream."""
        batch, model = self.circuit.prompts.batch, self.circuit.problem.model
        answers, unembed = batch.answers, model.bridge.unembed.W_U
        n = len(answers)
        difference = (unembed[:, answers.right] - unembed[:, answers.wrong]).t()
        others = unembed[:, answers.other_tokens].t() * answers.other_signs.unsqueeze(1)
        directions = self.freezes.final_norm.adjoint(torch.cat([difference, others])) / self.freezes.final_scale
        directions = directions if output is None else directions @ output.t()
        read = (x[:, batch.read_rows, batch.read_columns] * directions).sum(-1)
        summed = read[:, :n].index_add(1, answers.other_prompts, read[:, n:])
        return summed.unsqueeze(1)


def _replaces(site: Site, *points: str) -> bool:
    """Whether `site` replaces what one of these hook points adds to the stream, not the stream itself."""
    return site.inside is not None and not site.replaces_stream and site.inside.write.endswith(points)
