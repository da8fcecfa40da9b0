"""The passes made once, when a task is opened: what M and M_s do, and what every latent does on the train prompts.

Sites are visited from the first to the last with all prompts at each, because a site's mean error must be known before
the next site's input can be computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.left_padding import padded
from circuit_tui.core.saes.site import Site, site_groups
from circuit_tui.core.splice.ablation import GroupMeans
from circuit_tui.core.splice.hook_patch import HookPatch, run_patched, sae_input
from circuit_tui.core.tasks.answers import Answers
from circuit_tui.core.tasks.tokens import TokenizedPrompts

MAX_LENGTH_RATIO = 2
"""How many times as long as the shortest prompt of a batch its longest may be."""


@dataclass(frozen=True, slots=True)
class PlainPass:
    """One side of a split under M.

    Attributes:
        prefix: `[row, position, d_model]` entering the first site.
        logits: `[read, vocab]` float32 where the answers are read, empty unless asked for.
        errors: for each site what is there less what the SAE makes of what it reads, `[row, position, d_out]`, empty
            unless asked for.
    """

    prefix: Tensor
    logits: Tensor
    errors: tuple[Tensor, ...]


def chunks(lengths: Tensor, size: int | None) -> list[Tensor]:
    """Indices of prompts, or of rows, in chunks of at most `size`, alike in length so that little is padding.

    The longest of a chunk is at most `MAX_LENGTH_RATIO` times as long as its shortest.
    """
    order, size = lengths.argsort(stable=True), size or max(1, len(lengths))
    found, start = [], 0
    in_order = lengths[order].tolist()
    for stop in range(1, len(in_order) + 1):
        full = stop - start == size
        if stop == len(in_order) or full or in_order[stop] > MAX_LENGTH_RATIO * in_order[start]:
            found.append(order[start:stop])
            start = stop
    return found


@torch.no_grad()
def plain_pass(
    model: LanguageModel,
    sites: Sequence[Site],
    side: TokenizedPrompts,
    answers: Answers | None,
    *,
    errors: bool,
    size: int | None,
) -> PlainPass:
    """Runs M over `side`, at most `size` rows at a time.

    Goes beyond the first site only for `errors`, or to read `answers`.
    """
    shape = (*side.tokens.shape, model.d_model)
    prefix = torch.zeros(shape, dtype=model.dtype, device=model.device)
    error = tuple(torch.zeros(*shape[:2], site.sae.d_out, device=model.device) for site in sites) if errors else ()
    found: list[tuple[Tensor, Tensor]] = []
    for rows in chunks(side.lengths, size):
        width = int(side.lengths[rows].max())
        here = padded(model, side.lengths[rows])
        resid = here.blocks(here.embed(side.tokens[rows, :width]), 0, sites[0].depth)
        prefix[rows, :width] = resid
        if answers is None and not errors:
            continue
        for index, site in enumerate(sites):
            if errors:
                x, there = sae_input(here, [site], resid)
                error[index][rows, :width] = there.float() - site.sae.rebuild(site.sae.encode(x), x)
            resid = here.blocks(resid, site.depth, _next_depth(model, sites, index))
        if answers is not None:
            read, row = (answers.read_rows.unsqueeze(1) == rows).nonzero(as_tuple=True)
            found.append((read, model.logits(resid, answers.read_columns[read], row)))
    logits = torch.cat([part for _, part in found]) if found else torch.zeros(0, 0, device=model.device)
    if found:
        logits = logits[torch.cat([read for read, _ in found]).argsort()]
    return PlainPass(prefix, logits, error)


Visit = Callable[[int, Tensor, Tensor, Tensor, Tensor], None]


class ChunkOutput(NamedTuple):
    """A chunk at one site: its rows, what is there and what the SAE makes of it, `[row, position, d_out]`."""

    rows: Tensor
    output: Tensor
    rebuilt: Tensor


@torch.no_grad()
def spliced_pass(
    model: LanguageModel,
    sites: Sequence[Site],
    side: TokenizedPrompts,
    prefix: Tensor,
    ids: Tensor,
    visit: Visit,
    errors: Callable[[int, list[ChunkOutput]], Callable[[Tensor, int], Tensor | None]],
    size: int | None,
) -> None:
    """Runs M_s over `side` as far as the last site, at most `size` rows at a time.

    `visit(site, rows, residual, read, activations)` sees each chunk, with the residual that enters the site's stop
    and what its SAE reads.
    `errors(site, seen)` is asked once for each site and answers with a function from a chunk's rows and width to the
    error added there (None: dropped).
    """
    parts = chunks(side.lengths, size)
    models = [padded(model, side.lengths[rows]) for rows in parts]
    widths = [int(side.lengths[rows].max()) for rows in parts]
    resids = [prefix[rows, :width] for rows, width in zip(parts, widths, strict=True)]
    for stop in site_groups(sites):
        here = sites[stop.start : stop.stop]
        # For each chunk what takes the place of what is at the sites of this stop, as far as they have been visited.
        patches: list[list[HookPatch]] = [[] for _ in parts]
        for index, site in zip(stop, here, strict=True):
            seen = []
            for own, rows, resid, before in zip(models, parts, resids, patches, strict=True):
                x, there = sae_input(own, here, resid, before)
                activations = site.sae.encode(x)
                visit(index, rows, resid, x, activations)
                seen.append(ChunkOutput(rows, there, site.sae.rebuild(activations, x)))
            error_of = errors(index, seen)
            for part, width, before in zip(seen, widths, patches, strict=True):
                error = error_of(part.rows, width)
                out = part.rebuilt if error is None else part.rebuilt + error
                inside = (ids[part.rows, :width] >= 0).unsqueeze(-1)
                before.append(_constant(torch.where(inside, out.to(part.output.dtype), part.output)))
        if stop.stop == len(sites):
            return
        for at, (own, resid) in enumerate(zip(models, resids, strict=True)):
            left = run_patched(own, here, resid, patches[at])
            resids[at] = own.blocks(left, here[0].depth_after, sites[stop.stop].depth)


def _constant(value: Tensor) -> HookPatch:
    return lambda _, __: value


def _next_depth(model: LanguageModel, sites: Sequence[Site], index: int) -> int:
    return sites[index + 1].depth if index + 1 < len(sites) else model.n_layers


class LatentStats:
    """What the latents of one site do on one side of the train prompts, for each position.

    Args:
        ids: `[row, position]` position ids, negative where nothing is spliced.
        n_positions, d_sae: sizes of the tables.

    Attributes:
        means: `GroupMeans` over positions.
        peak: `[position, latent]` largest activation.
        rows_fired: `[position, latent]` number of rows on which the latent fires at that position.
    """

    def __init__(self, ids: Tensor, n_positions: int, d_sae: int) -> None:
        self._ids = ids
        self.means = GroupMeans(n_positions, d_sae, ids.device)
        self.peak = torch.zeros(n_positions, d_sae, device=ids.device)
        self.rows_fired = torch.zeros(n_positions, d_sae, device=ids.device)

    def add(self, rows: Tensor, activations: Tensor) -> None:
        """Counts activations `[row, position, latent]` of the rows `rows`."""
        ids = self._ids[rows, : activations.shape[1]]
        self.means.add(ids, activations)
        inside = ids >= 0
        flat, values = ids[inside], activations[inside]
        for position in torch.unique(flat):
            top = values[flat == position].amax(0)
            self.peak[position] = torch.maximum(self.peak[position], top)
        n_positions = len(self.peak)
        own_row = torch.arange(len(rows), device=ids.device).unsqueeze(1) * n_positions + ids
        hits = torch.zeros(len(rows) * n_positions, activations.shape[-1], device=ids.device)
        hits.index_add_(0, own_row[inside], (values != 0).float())
        self.rows_fired += (hits > 0).float().reshape(len(rows), n_positions, -1).sum(0)


def mean_errors(cells: Tensor, n_cells: int, seen: Sequence[ChunkOutput]) -> Tensor:
    """Mean SAE error `[cell, d_out]` of chunks; `cells` `[row, position]`."""
    means = GroupMeans(n_cells, seen[0].output.shape[-1], cells.device)
    for rows, there, rebuilt in seen:
        means.add(cells[rows, : there.shape[1]], there.float() - rebuilt)
    return means.mean()
