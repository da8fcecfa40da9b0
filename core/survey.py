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

from circuit_tui.core.ablation import CellMeans
from circuit_tui.core.model import LanguageModel
from circuit_tui.core.passage import Change, arriving, past
from circuit_tui.core.site import Site, stops
from circuit_tui.core.tokens import Side

BUCKET = 2
"""How many times as long as the shortest prompt of a batch its longest may be."""


@dataclass(frozen=True, slots=True)
class PlainPass:
    """One side of a split under M.

    Attributes:
        prefix: `[prompt, position, d_model]` entering the first site.
        logits: `[prompt, vocab]` float32 at the answer position, empty unless asked for.
        errors: for each site what is there less what the SAE makes of what it reads, `[prompt, position, d_out]`, empty
            unless asked for.
    """

    prefix: Tensor
    logits: Tensor
    errors: tuple[Tensor, ...]


def chunks(lengths: Tensor, size: int | None) -> list[Tensor]:
    """Prompt indices in chunks of at most `size`, alike in length so that little is padding.

    The longest prompt of a chunk is at most `BUCKET` times as long as its shortest.
    """
    order, size = lengths.argsort(stable=True), size or max(1, len(lengths))
    found, start = [], 0
    in_order = lengths[order].tolist()
    for stop in range(1, len(in_order) + 1):
        full = stop - start == size
        if stop == len(in_order) or full or in_order[stop] > BUCKET * in_order[start]:
            found.append(order[start:stop])
            start = stop
    return found


@torch.no_grad()
def plain_pass(
    model: LanguageModel, sites: Sequence[Site], side: Side, *, logits: bool, errors: bool, size: int | None
) -> PlainPass:
    """Runs M over `side`; the blocks after the first site only where `logits` or `errors` are wanted."""
    shape = (*side.tokens.shape, model.d_model)
    prefix = torch.zeros(shape, dtype=model.dtype, device=model.device)
    error = tuple(torch.zeros(*shape[:2], site.sae.d_out, device=model.device) for site in sites) if errors else ()
    rows: list[tuple[Tensor, Tensor]] = []
    for prompts in chunks(side.lengths, size):
        width = int(side.lengths[prompts].max())
        resid = model.blocks(model.embed(side.tokens[prompts, :width]), 0, sites[0].depth)
        prefix[prompts, :width] = resid
        if not logits and not errors:
            continue
        for index, site in enumerate(sites):
            if errors:
                x, there = arriving(model, [site], resid)
                error[index][prompts, :width] = there.float() - site.sae.rebuild(site.sae.encode(x), x)
            resid = model.blocks(resid, site.depth, _next_depth(model, sites, index))
        if logits:
            rows.append((prompts, model.logits(resid, side.answer[prompts])))
    answer = torch.cat([row for _, row in rows]) if rows else torch.zeros(0, 0, device=model.device)
    if rows:
        order = torch.cat([prompts for prompts, _ in rows]).argsort()
        answer = answer[order]
    return PlainPass(prefix, answer, error)


Visit = Callable[[int, Tensor, Tensor, Tensor, Tensor], None]


class Seen(NamedTuple):
    """A chunk at one site: its prompts, what is there and what the SAE makes of it, `[prompt, position, d_out]`."""

    prompts: Tensor
    there: Tensor
    rebuilt: Tensor


@torch.no_grad()
def spliced_pass(
    model: LanguageModel,
    sites: Sequence[Site],
    side: Side,
    prefix: Tensor,
    ids: Tensor,
    visit: Visit,
    errors: Callable[[int, list[Seen]], Callable[[Tensor, int], Tensor | None]],
    size: int | None,
) -> None:
    """Runs M_s over `side` as far as the last site.

    `visit(site, prompts, residual, read, activations)` sees each chunk, with the residual that enters the site's stop
    and what its SAE reads.
    `errors(site, seen)` is asked once for each site and answers with a function from a chunk's prompts and width to the
    error added there (None: dropped).
    """
    parts = chunks(side.lengths, size)
    widths = [int(side.lengths[prompts].max()) for prompts in parts]
    resids = [prefix[prompts, :width] for prompts, width in zip(parts, widths, strict=True)]
    for stop in stops(sites):
        here = sites[stop.start : stop.stop]
        # For each chunk what takes the place of what is at the sites of this stop, as far as they have been visited.
        changes: list[list[Change]] = [[] for _ in parts]
        for index, site in zip(stop, here, strict=True):
            seen = []
            for prompts, resid, before in zip(parts, resids, changes, strict=True):
                x, there = arriving(model, here, resid, before)
                activations = site.sae.encode(x)
                visit(index, prompts, resid, x, activations)
                seen.append(Seen(prompts, there, site.sae.rebuild(activations, x)))
            error_of = errors(index, seen)
            for part, width, before in zip(seen, widths, changes, strict=True):
                error = error_of(part.prompts, width)
                out = part.rebuilt if error is None else part.rebuilt + error
                inside = (ids[part.prompts, :width] >= 0).unsqueeze(-1)
                before.append(_constant(torch.where(inside, out.to(part.there.dtype), part.there)))
        if stop.stop == len(sites):
            return
        for at, resid in enumerate(resids):
            left = past(model, here, resid, changes[at])
            resids[at] = model.blocks(left, here[0].after, sites[stop.stop].depth)


def _constant(value: Tensor) -> Change:
    return lambda _, __: value


def _next_depth(model: LanguageModel, sites: Sequence[Site], index: int) -> int:
    return sites[index + 1].depth if index + 1 < len(sites) else model.n_layers


class LatentCounts:
    """What the latents of one site do on one side of the train prompts, for each position.

    Args:
        ids: `[prompt, position]` position ids, negative where nothing is spliced.
        n_positions, d_sae: sizes of the tables.

    Attributes:
        means: `CellMeans` over positions.
        peak: `[position, latent]` largest activation.
        prompts_fired: `[position, latent]` number of prompts on which the latent fires at that position.
    """

    def __init__(self, ids: Tensor, n_positions: int, d_sae: int) -> None:
        self._ids = ids
        self.means = CellMeans(n_positions, d_sae, ids.device)
        self.peak = torch.zeros(n_positions, d_sae, device=ids.device)
        self.prompts_fired = torch.zeros(n_positions, d_sae, device=ids.device)

    def add(self, prompts: Tensor, activations: Tensor) -> None:
        """Counts activations `[prompt, position, latent]` of the prompts `prompts`."""
        ids = self._ids[prompts, : activations.shape[1]]
        self.means.add(ids, activations)
        inside = ids >= 0
        flat, values = ids[inside], activations[inside]
        for position in torch.unique(flat):
            top = values[flat == position].amax(0)
            self.peak[position] = torch.maximum(self.peak[position], top)
        n_positions = len(self.peak)
        own_row = torch.arange(len(prompts), device=ids.device).unsqueeze(1) * n_positions + ids
        hits = torch.zeros(len(prompts) * n_positions, activations.shape[-1], device=ids.device)
        hits.index_add_(0, own_row[inside], (values != 0).float())
        self.prompts_fired += (hits > 0).float().reshape(len(prompts), n_positions, -1).sum(0)


def mean_errors(cells: Tensor, n_cells: int, seen: Sequence[Seen]) -> Tensor:
    """Mean SAE error `[cell, d_out]` of chunks; `cells` `[prompt, position]`."""
    means = CellMeans(n_cells, seen[0].there.shape[-1], cells.device)
    for prompts, there, rebuilt in seen:
        means.add(cells[prompts, : there.shape[1]], there.float() - rebuilt)
    return means.mean()
