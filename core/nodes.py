"""Candidate nodes and how a subset of them is packed for the splice.

A node is (site, position, latent). Nodes are numbered once, sorted by site, then latent, then position; a circuit is a
set of numbers, a mask a vector `[node]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.sae import Columns, SiteSae


@dataclass(frozen=True, slots=True)
class NodeSpace:
    """All candidate nodes. `site`, `position`, `latent` are `[node]` int64 on the CPU; `first[s]` starts site `s`."""

    site: Tensor
    position: Tensor
    latent: Tensor
    first: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.latent)

    @classmethod
    def from_fired(cls, fired: Sequence[Tensor], extra: Iterable[tuple[int, int, int]] = ()) -> NodeSpace:
        """Nodes where `fired[site]` `[position, latent]` is true, and the (site, position, latent) of `extra`."""
        fired = [table.cpu().clone() for table in fired]
        for site, position, latent in extra:
            fired[site][position, latent] = True
        sites, positions, latents, first = [], [], [], [0]
        for index, table in enumerate(fired):
            pairs = table.t().nonzero()
            latents.append(pairs[:, 0])
            positions.append(pairs[:, 1])
            sites.append(torch.full((len(pairs),), index))
            first.append(first[-1] + len(pairs))
        return cls(torch.cat(sites), torch.cat(positions), torch.cat(latents), tuple(first))

    def of_site(self, site: int) -> range:
        """The node numbers of one site."""
        return range(self.first[site], self.first[site + 1])

    def counts(self, kept: Tensor) -> tuple[int, ...]:
        """How many nodes of `kept` `[node]` bool each site has."""
        pairs = zip(self.first, self.first[1:], strict=False)
        return tuple(int(kept[start:stop].sum()) for start, stop in pairs)


@dataclass(frozen=True, slots=True)
class Pack:
    """Some nodes of one site, grouped by position and padded.

    Attributes:
        latents: `[group, slot]` latent of each slot, 0 in padding.
        nodes: `[group, slot]` node number, `n_nodes` (one past the last) in padding.
        columns: the encoder columns of the slots, None where the SAE needs its full encode.
        decoder: `[group, slot, d_model]`, 0 in padding.
    """

    latents: Tensor
    nodes: Tensor
    columns: Columns | None
    decoder: Tensor

    @property
    def empty(self) -> bool:
        """Whether it holds no node."""
        return self.latents.shape[1] == 0


def pack(space: NodeSpace, nodes: Tensor, sae: SiteSae, n_groups: int) -> Pack:
    """Packs the nodes with numbers `nodes` (all of one site) for the splice at that site."""
    device = sae.b_dec.device
    position = space.position[nodes]
    order = position.argsort(stable=True)
    nodes, position = nodes[order], position[order]
    counts = torch.bincount(position, minlength=n_groups)
    width = int(counts.max()) if len(nodes) else 0
    slot = torch.arange(len(nodes)) - (counts.cumsum(0) - counts)[position]
    latents = torch.zeros(n_groups, width, dtype=torch.long)
    numbers = torch.full((n_groups, width), len(space), dtype=torch.long)
    latents[position, slot] = space.latent[nodes]
    numbers[position, slot] = nodes
    latents, numbers = latents.to(device), numbers.to(device)
    decoder = sae.w_dec[latents] * (numbers < len(space)).unsqueeze(-1)
    return Pack(latents, numbers, sae.columns(latents) if sae.elementwise else None, decoder)
