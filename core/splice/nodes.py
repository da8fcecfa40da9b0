"""Candidate nodes, and how some of them are packed for the splice.

A node is (site, position, latent). Nodes are numbered once, sorted by site, then latent, then position; a circuit is a
set of numbers, a mask a vector `[node]`. In a pack the nodes of one position are a *group*, each in a *slot* of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.runtime.sending import send
from circuit_tui.core.saes.sae import EncoderColumns, SiteSae


@dataclass(frozen=True, slots=True)
class NodeSpace:
    """All candidate nodes.

    Attributes:
        site, position, latent: `[node]` int64 on the CPU: index of the site, position id and latent of each node.
        first: the number of each site's first node, then the number of all nodes.
    """

    site: Tensor
    position: Tensor
    latent: Tensor
    first: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.latent)

    @classmethod
    def from_fired(cls, fired: Sequence[Tensor], extra: Iterable[tuple[int, int, int]] = ()) -> NodeSpace:
        """The nodes where `fired[site]` `[position, latent]` is true, and each (site, position, latent) of `extra`."""
        fired = [table.cpu().clone() for table in fired]
        for index, position_id, number in extra:
            fired[index][position_id, number] = True
        sites, positions, latents, starts = [], [], [], [0]
        for index, table in enumerate(fired):
            latent, position = table.t().nonzero().unbind(1)
            latents.append(latent)
            positions.append(position)
            sites.append(torch.full((len(latent),), index))
            starts.append(starts[-1] + len(latent))
        return cls(torch.cat(sites), torch.cat(positions), torch.cat(latents), tuple(starts))

    def coordinates(self) -> list[tuple[int, int, int]]:
        """The (site, position, latent) of every node."""
        return list(zip(self.site.tolist(), self.position.tolist(), self.latent.tolist(), strict=True))

    def of_site(self, site: int) -> range:
        """The node numbers of one site."""
        return range(self.first[site], self.first[site + 1])

    def kept_of_site(self, kept: Tensor, site: int) -> Tensor:
        """The numbers of one site's nodes in the circuit `kept` `[node]` bool."""
        nodes = self.of_site(site)
        return kept[nodes.start : nodes.stop].nonzero()[:, 0] + nodes.start

    def counts(self, kept: Tensor) -> tuple[int, ...]:
        """How many nodes of `kept` `[node]` bool each site has."""
        ranges = zip(self.first, self.first[1:], strict=False)
        return tuple(int(kept[start:stop].sum()) for start, stop in ranges)


@dataclass(frozen=True, slots=True)
class PaddedGroup:
    """Consecutive groups of a pack with similar numbers of nodes, padded to the largest of them.

    Attributes:
        groups: the range of groups, in the order of the pack.
        numbers: `[group]` the numbers of these groups, on the CPU.
        slots: the range of the pack's slots.
        latents: `[group, slot]` latent of each slot, 0 in padding.
        columns: the encoder columns of the slots, None where the SAE needs its full encode.
        decoder: `[group, slot, d_out]`, 0 in padding.
    """

    groups: slice
    numbers: Tensor
    slots: slice
    latents: Tensor
    columns: EncoderColumns | None
    decoder: Tensor


@dataclass(frozen=True, slots=True)
class Pack:
    """Some nodes of one site, grouped by position and padded.

    Attributes:
        nodes: `[slot]` node number of each slot of all padded groups, `n_nodes` (one past the last) in padding.
        padded_groups: the groups in stretches, each padded to one width for one product; none if there are no nodes.
        order: `[group]` the position id of each group, None if they are in the order of the ids.
        occupied: the groups that have nodes, as numbers in the order of the ids.
    """

    nodes: Tensor
    padded_groups: tuple[PaddedGroup, ...]
    order: Tensor | None = None
    occupied: frozenset[int] = frozenset()

    @property
    def empty(self) -> bool:
        """Whether it has no nodes."""
        return not self.padded_groups


# What one more padded group costs, as a number of weights of padding: about twenty launches, forward and backward. On a
# CPU that is 0.2 ms at 150 GFLOP/s and 16 tokens a group; on CUDA 0.1 ms at 3 TB/s.
PADDED_GROUP_COST = {"cpu": 1 << 19, "cuda": 1 << 25}


def padded_groups(counts: Sequence[int], cost: int) -> list[int]:
    """Returns the indices at which groups with `counts` nodes, descending, are cut into padded groups; 0 is the first.

    Between two cuts all groups are padded to the first. A cut is made where it saves more slots of padding than `cost`.
    """
    cuts = [0]
    for index, count in enumerate(counts):
        if (len(counts) - index) * (counts[cuts[-1]] - count) > cost:
            cuts.append(index)
    return cuts


def pack(space: NodeSpace, nodes: Tensor, sae: SiteSae, n_groups: int, group_of: Tensor | None = None) -> Pack:
    """Packs the nodes with numbers `nodes`, all of one site, for the splice at that site.

    Groups are position ids, or `group_of` `[position id]` has the group of each; nodes without one are left out. Groups
    are padded to several widths where that costs less than one.
    """
    device, group_of = sae.b_dec.device, torch.arange(n_groups) if group_of is None else group_of
    nodes = nodes[group_of[space.position[nodes]] >= 0]
    if not len(nodes):
        return Pack(nodes.to(device), ())
    group = group_of[space.position[nodes]]
    counts = torch.bincount(group, minlength=n_groups)
    largest_first = counts.argsort(descending=True, stable=True)
    sizes = counts[largest_first].tolist()
    occupied = frozenset(counts.nonzero()[:, 0].tolist())
    cost = PADDED_GROUP_COST["cpu" if device.type == "cpu" else "cuda"] // (sae.d_in + sae.d_out)
    cuts = padded_groups(sizes, cost)
    order = largest_first if len(cuts) > 1 else torch.arange(n_groups)
    rank = order.argsort()[group]
    by_rank = rank.argsort(stable=True)
    nodes, rank = nodes[by_rank], rank[by_rank]
    counts = counts[order]
    slot = torch.arange(len(nodes)) - (counts.cumsum(0) - counts)[rank]
    stretches, numbers = list[tuple[int, int, int]](), list[Tensor]()
    for first, stop in zip(cuts, [*cuts[1:], n_groups], strict=True):
        width = sizes[first]
        if not width:  # no nodes at these positions
            continue
        inside = (rank >= first) & (rank < stop)
        number = torch.full((stop - first, width), len(space), dtype=torch.long)
        number[rank[inside] - first, slot[inside]] = nodes[inside]
        stretches.append((first, stop, width))
        numbers.append(number.reshape(-1))
    node_of = torch.cat(numbers)
    real = node_of < len(space)
    latent_of = torch.where(real, space.latent[node_of.clamp(max=len(space) - 1)], 0)
    node_of, latent_of = send(torch.stack([node_of, latent_of]), device).unbind()
    made, start = list[PaddedGroup](), 0
    for first, stop, width in stretches:
        slots = slice(start, start + (stop - first) * width)
        latents, own = (each[slots].reshape(stop - first, width) for each in (latent_of, node_of))
        decoder = sae.directions(latents) * (own < len(space)).unsqueeze(-1)
        columns = sae.columns(latents) if sae.elementwise else None
        made.append(PaddedGroup(slice(first, stop), order[first:stop], slots, latents, columns, decoder))
        start = slots.stop
    return Pack(node_of, tuple(made), send(order, device) if len(cuts) > 1 else None, occupied)
