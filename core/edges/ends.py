"""The ends of edges, and which edges there can be.

An end is a token position (its embedding), a latent of the circuit, the SAE error of a site and position, or the logit
difference. An edge is direct: from a source past the sites in between, whose nodes are held. A site on the residual
stream replaces all of it, so that edges end there; a site that replaces what is added to the stream is bypassed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from circuit_tui.core.edges.view import EndKind
from circuit_tui.core.saes.site import Site
from circuit_tui.core.splice.problem import Problem

TOKENS = -1
"""The `End.site` of token embeddings."""


@dataclass(frozen=True, slots=True)
class End:
    """One end of edges.

    Attributes:
        kind: what it is.
        site: index of its site; `TOKENS` for embeddings, the number of sites for the logit difference.
        position: its position id; -1 for the logit difference.
        latent: its latent, -1 if it is none.
        node: its number among the candidate nodes, -1 if it is none.
    """

    kind: EndKind
    site: int
    position: int
    latent: int = -1
    node: int = -1


@dataclass(frozen=True, slots=True)
class EdgeSpace:
    """The ends of a circuit's edges, and all edges that there can be. An edge set is `[end, end]` bool.

    Attributes:
        ends: tokens, then site by site latents and errors, last the logit difference.
        first: the number of the first end of the tokens, of each site and of the logit difference, then of all ends.
        possible: `[source, target]` bool: whether the source can reach the target past held sites.
        barriers: for each site whether nothing gets past it.
    """

    ends: tuple[End, ...]
    first: tuple[int, ...]
    possible: Tensor
    barriers: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return len(self.barriers)

    @property
    def n_edges(self) -> int:
        """Number of possible edges."""
        return int(self.possible.sum())

    @property
    def to_logits(self) -> Tensor:
        """The edge set of all possible edges to the logit difference, and no other."""
        only = torch.zeros_like(self.possible)
        only[:, -1] = self.possible[:, -1]
        return only

    def edge_set(self, edges: Iterable[tuple[int, int]]) -> Tensor:
        """The edge set of `edges`, (source, target) ends."""
        kept = torch.zeros_like(self.possible)
        for source, target in edges:
            kept[source, target] = True
        return kept

    def of_site(self, site: int) -> range:
        """The ends of one site, of `TOKENS`, or of the logit difference (`n_sites`)."""
        return range(self.first[site + 1], self.first[site + 2])

    def latents_of(self, site: int) -> range:
        """The ends of one site that are latents."""
        ends = self.of_site(site)
        return range(ends.start, ends.start + sum(self.ends[end].kind == "latent" for end in ends))

    def barrier_before(self, site: int) -> int:
        """The last site before `site` that nothing gets past, or `TOKENS`."""
        return next((index for index in reversed(range(site)) if self.barriers[index]), TOKENS)

    def reach_of(self, site: int) -> int:
        """The last site, or `n_sites`, that an edge from `site` can reach."""
        return next((index for index in range(site + 1, self.n_sites) if self.barriers[index]), self.n_sites)


def edge_space(problem: Problem, kept: Tensor) -> EdgeSpace:
    """Returns the edge space of the circuit `kept` `[node]` bool."""
    space, n_sites = problem.space, len(problem.sites)
    positions = _present(problem)
    groups = [[End("token", TOKENS, position) for position in positions]]
    for site in range(n_sites):
        nodes = space.kept_of_site(kept, site).tolist()
        here = [End("latent", site, int(space.position[node]), int(space.latent[node]), node) for node in nodes]
        if problem.errors == "keep":
            here += [End("error", site, position) for position in positions]
        groups.append(here)
    groups.append([End("logits", n_sites, -1)])
    first = [0]
    for group in groups:
        first.append(first[-1] + len(group))
    ends = tuple(end for group in groups for end in group)
    barriers = tuple(_is_barrier(problem, site) for site in problem.sites)
    return EdgeSpace(ends, tuple(first), _possible(problem, ends, barriers), barriers)


def _present(problem: Problem) -> list[int]:
    """The position ids that some clean prompt has."""
    found = {int(each) for split in problem.splits.values() for each in split.ids.unique()}
    return sorted(each for each in found if each >= 0)


def _is_barrier(problem: Problem, site: Site) -> bool:
    """Whether nothing gets past `site`: it replaces the stream, and what it leaves alone stands before all it splices.

    Tokens that are not spliced but stand behind spliced ones carry what they have read past the site.
    """
    if not site.replaces_stream:
        return False
    for split in problem.splits.values():
        spliced = split.ids >= 0
        real = torch.arange(split.ids.shape[1], device=spliced.device) < split.lengths.unsqueeze(1)
        if bool((real & ~spliced & (spliced.cumsum(1) > 0)).any()):
            return False
    return True


def _possible(problem: Problem, ends: Sequence[End], barriers: Sequence[bool]) -> Tensor:
    earlier, at_reads, n_sites = _earlier(problem), sorted(_read_positions(problem)), len(barriers)
    # One column more, which -1 indexes: a read at a token without a position is at none of them.
    same = torch.eye(problem.n_positions, problem.n_positions + 1, dtype=torch.bool)
    possible = torch.zeros(len(ends), len(ends), dtype=torch.bool)
    sites, positions = torch.tensor([(end.site, end.position) for end in ends]).unbind(1)
    is_target = torch.tensor([end.kind in ("latent", "logits") for end in ends])
    for a, b in combinations(range(TOKENS, n_sites + 1), 2):
        if any(barriers[a + 1 : b]) or not _connected(problem, a, b):
            continue
        attention = _attention_after(problem.sites, a) < _attention_before(problem, b)
        reaches = earlier if attention else same
        sources, targets = (sites == a).nonzero()[:, 0], ((sites == b) & is_target).nonzero()[:, 0]
        reached = reaches[positions[sources]]
        possible[sources.unsqueeze(1), targets] = (
            reached[:, at_reads].any(1, keepdim=True) if b == n_sites else reached[:, positions[targets]]
        )
    return possible


def _earlier(problem: Problem) -> Tensor:
    """`[position, position]` bool: whether in some clean prompt a token of the first is not after one of the second."""
    count = problem.n_positions
    earlier = torch.zeros(count, count, dtype=torch.bool)
    for split in problem.splits.values():
        width = split.ids.shape[1]
        column = torch.arange(width, device=split.ids.device).expand_as(split.ids)
        first = torch.full((len(split.ids), count + 1), width, device=column.device)
        last = torch.full((len(split.ids), count + 1), -1, device=column.device)
        index = torch.where(split.ids >= 0, split.ids, count)
        first = first.scatter_reduce(1, index, column, "amin")[:, :count]
        last = last.scatter_reduce(1, index, column, "amax")[:, :count]
        earlier |= (first.unsqueeze(2) <= last.unsqueeze(1)).any(0).cpu()
    return earlier


def _read_positions(problem: Problem) -> set[int]:
    """The position ids of the tokens at which answers are read."""
    found: set[int] = set()
    for split in problem.splits.values():
        found |= set(split.ids[split.answers.read_rows, split.answers.read_columns].tolist())
    return found


def _attention_after(sites: Sequence[Site], index: int) -> int:
    """The first block whose attention reads what site number `index` writes."""
    return 0 if index == TOKENS else sites[index].depth_after


def _attention_before(problem: Problem, index: int) -> int:
    """How many blocks' attentions have run when site number `index` is read."""
    if index == len(problem.sites):
        return problem.model.n_layers
    site = problem.sites[index]
    if site.inside is None or (_reads_mlp(site) and is_parallel(problem)):
        return site.depth
    return site.depth + 1


def _connected(problem: Problem, source: int, target: int) -> bool:
    """Whether the target site reads anything that the source site writes: in a parallel block the MLP reads no head."""
    if source == TOKENS or target == len(problem.sites) or not is_parallel(problem):
        return True
    a, b = problem.sites[source], problem.sites[target]
    return a.inside is None or b.inside is None or a.depth != b.depth or not _reads_mlp(b)


def _reads_mlp(site: Site) -> bool:
    return site.inside is not None and site.inside.write.endswith("hook_mlp_out")


def is_parallel(problem: Problem) -> bool:
    """Whether attention and MLP of a block read the same stream."""
    return bool(getattr(problem.model.bridge.cfg, "parallel_attn_mlp", False))
