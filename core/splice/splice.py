"""The splice: what each site does to the activations that arrive.

With A the SAE's latents of what arrives, r their reference values, m the mask (Caples et al. 2025):

    kept      base + (m * (A_c - r_c)) @ W_dec[c],   base = decode(r) + error
    full      decode(A) + error                                        (M_s)
    removed   decode(A) + error - (A_c - r_c) @ W_dec[c]               (M without C)

c are the packed latents alone, which is exact: a node outside the circuit contributes its reference, already in `base`.
The error term is a constant of the prompt, never recomputed on the masked stream, so the mask's gradient is that of the
formula. SAEs work in float32 whatever the model's dtype. Where the SAE has a frame (see `sae_transform.py`), it is entered
before A is taken and left before the error is added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.left_padding import padded
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.saes.site import Site, site_groups
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.final_site import FinalSiteView, is_final
from circuit_tui.core.splice.hook_patch import run_patched
from circuit_tui.core.splice.nodes import Pack
from circuit_tui.core.splice.position_groups import PositionGroups
from circuit_tui.core.splice.spliced_tokens import SpliceConstants


class Splice(Protocol):
    """What one site does to `x` `[prompt, position, d_in]`, which its SAE reads."""

    def __call__(self, x: Tensor, there: Tensor) -> Tensor:
        """What takes the place of `there` `[prompt, position, d_out]`; on the stream that is `x` itself."""


@dataclass(frozen=True, slots=True)
class BoundPack:
    """The nodes of one site bound to one batch: activations minus reference, and their sum through the decoder.

    Everything grouped is in the order of the pack's groups, which `position_groups` gives.
    """

    site: Site
    index: int
    batch: SpliceConstants
    pack: Pack
    position_groups: PositionGroups
    references: tuple[Tensor, ...]

    @property
    def error_after_transform(self) -> Tensor | None:
        """The error that is added after the frame, `[group, token, d_out]`; None where dropped or part of the base."""
        error = self.batch.errors_after_transform[self.index]
        return None if error is None else self.ordered(error)

    def ordered(self, x: Tensor) -> Tensor:
        """`x` `[group, ...]` of the batch in the order of the pack."""
        return x if self.pack.order is None else x.index_select(0, self.pack.order)

    @classmethod
    def bind(cls, site: Site, index: int, batch: SpliceConstants, pack: Pack) -> BoundPack:
        """Looks up the references of `pack`, a pack of the site number `index`."""
        layout = batch.position_groups if pack.order is None else batch.position_groups.reordered(pack.order)
        return cls(site, index, batch, pack, layout, batch.references(index, pack))

    def contribution(self, grouped: Tensor, mask: Tensor | None, base: Tensor | None) -> Tensor:
        """`base + (mask * (A - r)) @ W_dec` `[group, token, d_out]` of `grouped` x; mask `[slot]`."""
        transform = self.site.sae.transform
        if self.site.sae.elementwise:
            x = grouped if transform is None else transform.pre_encode(grouped)
        else:
            x = self.site.sae.encode(grouped)
        stretches, parts = self._stretches(len(grouped)), list[Tensor]()
        # Not cut out one by one: the gradient of each cut would be a tensor as large as all of x.
        pieces = x.split([groups.stop - groups.start for groups, _ in stretches])
        for here, (groups, number) in zip(pieces, stretches, strict=True):
            if number is None:
                shape = (*here.shape[:2], self.site.sae.d_out)
                parts.append(grouped.new_zeros(shape) if base is None else base[groups].expand(shape))
                continue
            padded_group, reference = self.pack.padded_groups[number], self.references[number]
            if padded_group.columns is not None:
                activations = padded_group.columns.encode(here)
            else:
                activations = here.gather(2, padded_group.latents.unsqueeze(1).expand(-1, here.shape[1], -1))
            delta = activations - reference
            if mask is not None:
                delta = delta * mask[padded_group.slots].reshape(len(here), 1, -1)
            if base is None:
                parts.append(torch.bmm(delta, padded_group.decoder))
            else:
                parts.append(torch.baddbmm(base[groups], delta, padded_group.decoder))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _stretches(self, n_groups: int) -> list[tuple[slice, int | None]]:
        """All groups in their order, each band with its number, what is between bands with None."""
        found, done = list[tuple[slice, int | None]](), 0
        for number, padded_group in enumerate(self.pack.padded_groups):
            if padded_group.groups.start > done:
                found.append((slice(done, padded_group.groups.start), None))
            found.append((padded_group.groups, number))
            done = padded_group.groups.stop
        return found if done == n_groups else [*found, (slice(done, n_groups), None)]

    def restricted_to(self, positions: Tensor) -> BoundPack:
        """Without the bands that hold none of the position ids `positions`: if nothing else is read they are idle."""
        if len(self.pack.padded_groups) < 2:
            return self
        order = torch.arange(self.position_groups.n_groups) if self.pack.order is None else self.pack.order.cpu()
        wanted = torch.isin(order, positions.cpu())
        kept = [bool(wanted[padded_group.groups].any()) for padded_group in self.pack.padded_groups]
        pack = replace(self.pack, padded_groups=tuple(compress(self.pack.padded_groups, kept)))
        return replace(self, pack=pack, references=tuple(compress(self.references, kept)))


@dataclass(frozen=True, slots=True)
class CircuitSplice:
    """The circuit's splice: packed nodes at `mask` `[slot]` (1 if None), all others at their reference."""

    nodes: BoundPack
    base: Tensor
    mask: Tensor | None = None

    def __call__(self, x: Tensor, there: Tensor) -> Tensor:
        """See the module's docstring."""
        layout, transform, base = (
            self.nodes.position_groups,
            self.nodes.site.sae.transform,
            self.nodes.ordered(self.base),
        )
        if self.nodes.pack.empty and transform is None:
            grouped = base.expand(layout.n_groups, layout.width, -1)
        else:
            arrived = layout.group(x.float())
            grouped = base if self.nodes.pack.empty else self.nodes.contribution(arrived, self.mask, base)
            if transform is not None:
                grouped = transform.post_decode(grouped, arrived)
                error = self.nodes.error_after_transform
                grouped = grouped if error is None else grouped + error
        return layout.ungroup(grouped.to(there.dtype), there)


@dataclass(frozen=True, slots=True)
class FullSplice:
    """M_s: every latent kept."""

    site: Site
    batch: Batch
    error: Tensor | None

    def __call__(self, x: Tensor, there: Tensor) -> Tensor:
        """See the module's docstring."""
        return self.with_activations(self.site.sae.encode(x), x, there)

    def with_activations(self, activations: Tensor, x: Tensor, there: Tensor) -> Tensor:
        """`there` with its spliced tokens rebuilt from `activations` `[prompt, position, latent]`, plus the error."""
        out = self.site.sae.rebuild(activations, x)
        out = out if self.error is None else out + self.error
        spliced = self.batch.position_groups.spliced.reshape(*there.shape[:2], 1)
        return torch.where(spliced, out.to(there.dtype), there)


@dataclass(frozen=True, slots=True)
class AblatedSplice:
    """M_s with the packed nodes at their reference."""

    nodes: BoundPack
    full: FullSplice

    def __call__(self, x: Tensor, there: Tensor) -> Tensor:
        """See the module's docstring."""
        everything = self.full(x, there)
        if self.nodes.pack.empty:
            return everything
        layout, transform = self.nodes.position_groups, self.nodes.site.sae.transform
        arrived = layout.group(x.float())
        part = self.nodes.contribution(arrived, None, None)
        part = part if transform is None else transform.scale(part, arrived)
        without = layout.group(everything.float()) - part
        return layout.ungroup(without.to(there.dtype), there)


@incremental
def run_spliced(
    model: LanguageModel,
    sites: Sequence[Site],
    batch: Batch,
    splices: Sequence[Splice],
    start: int = 0,
    resid: Tensor | None = None,
    inputs: list[Tensor] | None = None,
) -> Increments[Tensor]:
    """Returns logits `[read, vocab]` where the answers are read, with `splices[s]` at site `s`; site by site.

    Starts at the group of site `start` with the residual that enters it, `resid` (the batch's prefix if None).
    `inputs`, when given, receives the residual that enters the group of each site from `start` on; its first `start`
    entries are left alone.
    """
    model = padded(model, batch.lengths)
    resid = batch.prefix if resid is None else resid
    step = _recomputed if batch.recompute and torch.is_grad_enabled() else _kept
    for stop in site_groups(sites):
        if stop.stop <= start:
            continue
        for index in range(max(start, stop.start), stop.stop):
            if index > start:
                yield
            if inputs is not None:
                inputs[index:] = [resid]
        here, after = slice(stop.start, stop.stop), sites[stop.start].depth_after
        resid = step(run_patched, model, sites[here], resid, splices[here])
        rest = sites[stop.stop :]
        # The residual that enters a site is wanted whole if it is asked for.
        closed = not rest or (inputs is None and len(rest) == 1 and is_final(model, rest[0]))
        if step is _recomputed:
            for layer in range(after, model.n_layers - 1 if closed else rest[0].depth):
                resid = step(model.blocks, resid, layer, layer + 1)
            after = max(after, model.n_layers - 1)
        elif not closed:
            resid = model.blocks(resid, after, rest[0].depth)
        if closed:
            break
    if rest:
        yield
        last = splices[-1]
        last = (
            replace(last, nodes=last.nodes.restricted_to(batch.read_ids)) if isinstance(last, CircuitSplice) else last
        )
        model = FinalSiteView(model, last)
    return step(model.logits_from, resid, after, batch.read_columns, batch.read_rows)


def _kept(part: Callable[..., Tensor], *given: Any) -> Tensor:
    return part(*given)


def _recomputed(part: Callable[..., Tensor], *given: Any) -> Tensor:
    """`part(*given)`, of which a backward pass finds only what was given: it computes the rest again.

    Chen et al. (2016), "Training Deep Nets with Sublinear Memory Cost". The same operations run on the same numbers, so
    the gradient is the same.
    """
    result: Tensor = checkpoint(part, *given, use_reentrant=False, preserve_rng_state=False)
    return result
