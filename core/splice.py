"""The splice: what each site does to the residual stream.

With A the SAE's activations of the residual that arrives, r their reference values, m the mask (Caples et al. 2025):

    kept      base + (m * (A_c - r_c)) @ W_dec[c],   base = decode(r) + error
    full      decode(A) + error                                        (M_s)
    removed   decode(A) + error - (A_c - r_c) @ W_dec[c]               (M without C)

c are the packed latents alone, which is exact: a node outside the circuit contributes its reference, already in `base`.
The error term is a constant of the prompt, never recomputed on the masked stream, so the mask's gradient is that of the
formula. SAEs work in float32 whatever the model's dtype.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from circuit_tui.core.batch import Batch
from circuit_tui.core.load_saes import Site
from circuit_tui.core.model import LanguageModel
from circuit_tui.core.nodes import Pack


class Splice(Protocol):
    """What one site does: residual `[prompt, position, d_model]` in and out."""

    def __call__(self, resid: Tensor) -> Tensor:
        """The residual that leaves the site."""


@dataclass(frozen=True, slots=True)
class PackedNodes:
    """The nodes of one site bound to one batch: activations minus reference, and their sum through the decoder."""

    site: Site
    batch: Batch
    pack: Pack
    reference: Tensor

    @classmethod
    def bind(cls, site: Site, index: int, batch: Batch, pack: Pack) -> PackedNodes:
        """Looks up the references of `pack`, a pack of the site number `index`."""
        return cls(site, batch, pack, batch.reference(index, pack))

    def contribution(self, grouped: Tensor, mask: Tensor | None, base: Tensor | None) -> Tensor:
        """`base + (mask * (A - r)) @ W_dec` `[group, token, d_model]` of residuals `grouped`, mask `[group, slot]`."""
        if self.pack.columns is not None:
            activations = self.pack.columns.encode(grouped)
        else:
            every = self.site.sae.encode(grouped)
            slots = self.pack.latents.unsqueeze(1).expand(-1, grouped.shape[1], -1)
            activations = every.gather(2, slots)
        delta = activations - self.reference
        if mask is not None:
            delta = delta * mask.unsqueeze(1)
        return torch.bmm(delta, self.pack.decoder) if base is None else torch.baddbmm(base, delta, self.pack.decoder)


@dataclass(frozen=True, slots=True)
class Kept:
    """The circuit's splice: packed nodes at `mask` `[group, slot]` (1 if None), all others at their reference."""

    nodes: PackedNodes
    base: Tensor
    mask: Tensor | None = None

    def __call__(self, resid: Tensor) -> Tensor:
        """See the module's docstring."""
        layout = self.nodes.batch.layout
        if self.nodes.pack.empty:
            grouped = self.base.expand(layout.n_groups, layout.width, -1)
        else:
            grouped = self.nodes.contribution(layout.group(resid.float()), self.mask, self.base)
        return layout.ungroup(grouped.to(resid.dtype), resid)


@dataclass(frozen=True, slots=True)
class Full:
    """M_s: every latent kept."""

    site: Site
    batch: Batch
    error: Tensor | None

    def __call__(self, resid: Tensor) -> Tensor:
        """See the module's docstring."""
        return self.place(self.site.sae.decode(self.site.sae.encode(resid.float())), resid)

    def place(self, decoded: Tensor, resid: Tensor) -> Tensor:
        """`resid` with its spliced tokens replaced by `decoded` plus the error, all `[prompt, position, d_model]`."""
        out = decoded if self.error is None else decoded + self.error
        spliced = self.batch.layout.spliced.reshape(*resid.shape[:2], 1)
        return torch.where(spliced, out.to(resid.dtype), resid)


@dataclass(frozen=True, slots=True)
class Removed:
    """M_s with the packed nodes at their reference."""

    nodes: PackedNodes
    full: Full

    def __call__(self, resid: Tensor) -> Tensor:
        """See the module's docstring."""
        everything = self.full(resid)
        if self.nodes.pack.empty:
            return everything
        layout = self.nodes.batch.layout
        part = self.nodes.contribution(layout.group(resid.float()), None, None)
        without = layout.group(everything.float()) - part
        return layout.ungroup(without.to(resid.dtype), resid)


def run(
    model: LanguageModel,
    sites: Sequence[Site],
    batch: Batch,
    splices: Sequence[Splice],
    start: int = 0,
    resid: Tensor | None = None,
    inputs: list[Tensor] | None = None,
) -> Tensor:
    """Logits `[prompt, vocab]` at the answer position with `splices[s]` at site `s`.

    Starts at site `start` with the residual that enters it, `resid` (the batch's prefix if None). `inputs`, when given,
    receives the residual entering each site from `start` on; its first `start` entries are left alone.
    """
    slices = run_slices(model, sites, batch, splices, start, resid, inputs)
    while True:
        try:
            next(slices)
        except StopIteration as end:
            logits: Tensor = end.value
            return logits


def run_slices(
    model: LanguageModel,
    sites: Sequence[Site],
    batch: Batch,
    splices: Sequence[Splice],
    start: int = 0,
    resid: Tensor | None = None,
    inputs: list[Tensor] | None = None,
) -> Generator[None, None, Tensor]:
    """`run` in slices: it yields between one site and the next."""
    resid = batch.prefix if resid is None else resid
    for index in range(start, len(sites)):
        if index > start:
            yield
        if inputs is not None:
            inputs[index:] = [resid]
        resid = splices[index](resid)
        if index + 1 < len(sites):
            resid = model.blocks(resid, sites[index].depth, sites[index + 1].depth)
    return model.finish(resid, sites[-1].depth, batch.answer)
