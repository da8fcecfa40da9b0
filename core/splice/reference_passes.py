"""The passes made once, when a problem is opened: M, M_s, and statistics of every latent on the train prompts.

M_s visits the sites from the first to the last, with all prompts at each: the input of the next site depends on this
site's mean error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.shared_prefixes import shared_runner
from circuit_tui.core.saes.site import Site, site_groups
from circuit_tui.core.splice.ablation import GroupMeans
from circuit_tui.core.splice.hook_patch import HookPatch, run_patched, sae_input
from circuit_tui.core.tasks.answers import Answers
from circuit_tui.core.tasks.tokens import TokenizedPrompts

MAX_LENGTH_RATIO = 2
"""How many times as long as the shortest prompt of a batch its longest may be."""


@dataclass(frozen=True, slots=True)
class PlainPass:
    """M on the clean or the corrupt prompts of a split.

    Attributes:
        prefix: `[row, position, d_model]` entering the first site.
        logits: `[read, vocab]` float32 where the answers are read, empty unless asked for.
        errors: for each site the hook's output minus its reconstruction by the SAE, `[row, position, d_out]`; empty
            unless asked for.
    """

    prefix: Tensor
    logits: Tensor
    errors: tuple[Tensor, ...]


def chunks(lengths: Tensor, size: int | None) -> list[Tensor]:
    """Indices of prompts, or of rows, in chunks of at most `size`, alike in length so that there is little padding.

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
    prompts: TokenizedPrompts,
    answers: Answers | None,
    *,
    errors: bool,
    size: int | None,
) -> PlainPass:
    """Runs M over `prompts`, at most `size` rows at a time.

    Goes beyond the first site, the last block where there is none, only for `errors` or to read `answers`.
    """
    shape = (*prompts.tokens.shape, model.d_model)
    prefix = torch.zeros(shape, dtype=model.dtype, device=model.device)
    error = tuple(torch.zeros(*shape[:2], site.sae.d_out, device=model.device) for site in sites) if errors else ()
    found: list[tuple[Tensor, Tensor]] = []
    for rows in chunks(prompts.lengths, size):
        width = int(prompts.lengths[rows].max())
        runner = shared_runner(model, prompts.lengths[rows], [prompts.tokens[rows, :width]])
        resid = runner.run_blocks(runner.embed(prompts.tokens[rows, :width]), 0, _next_depth(model, sites, -1))
        prefix[rows, :width] = resid
        if answers is None and not errors:
            continue
        for index, site in enumerate(sites):
            if errors:
                x, output = sae_input(runner, [site], resid)
                error[index][rows, :width] = output.float() - site.sae.rebuild(site.sae.encode(x), x)
            resid = runner.run_blocks(resid, site.depth, _next_depth(model, sites, index))
        if answers is not None:
            read, row = (answers.read_rows.unsqueeze(1) == rows).nonzero(as_tuple=True)
            found.append((read, model.logits(resid, answers.read_columns[read], row)))
    logits = torch.cat([part for _, part in found]) if found else torch.zeros(0, 0, device=model.device)
    if found:
        logits = logits[torch.cat([read for read, _ in found]).argsort()]
    return PlainPass(prefix, logits, error)


class ChunkOutput(NamedTuple):
    """A chunk at one site: its rows, the hook's output and its reconstruction by the SAE, `[row, position, d_out]`."""

    rows: Tensor
    output: Tensor
    rebuilt: Tensor


Visit = Callable[[int, Tensor, Tensor, Tensor, Tensor], None]
"""Is given site, rows, residual, SAE input and activations of each chunk at each site."""
ErrorOf = Callable[[Tensor, int], Tensor | None]
"""From rows `[row]` and a width to the error `[row, position, d_out]` that is added there; None where dropped."""


@torch.no_grad()
def spliced_pass(
    model: LanguageModel,
    sites: Sequence[Site],
    prompts: TokenizedPrompts,
    prefix: Tensor,
    ids: Tensor,
    kinds: Tensor,
    visit: Visit,
    errors: Callable[[int, list[ChunkOutput]], ErrorOf],
    size: int | None,
) -> None:
    """Runs M_s over `prompts` as far as the last site, at most `size` rows at a time.

    `visit(site, rows, residual, x, activations)` is called for each chunk, with the residual that enters the site's
    group and the input `x` of its SAE. `errors(site, outputs)` is called once for each site, with the outputs of all
    chunks, and returns the function that gives the error to add. Where `kinds` `[row, position]` differ, it may give
    another.
    """
    parts = chunks(prompts.lengths, size)
    widths = [int(prompts.lengths[rows].max()) for rows in parts]
    # Tokens that take another mean error, or none, are not alike.
    runners = [
        shared_runner(model, prompts.lengths[rows], [prompts.tokens[rows, :width], kinds[rows, :width]])
        for rows, width in zip(parts, widths, strict=True)
    ]
    resids = [prefix[rows, :width] for rows, width in zip(parts, widths, strict=True)]
    for group in site_groups(sites):
        here = sites[group.start : group.stop]
        # For each chunk the patches of the sites of this group that have been visited.
        patches: list[list[HookPatch]] = [[] for _ in parts]
        for index, site in zip(group, here, strict=True):
            outputs = []
            for runner, rows, resid, before in zip(runners, parts, resids, patches, strict=True):
                x, output = sae_input(runner, here, resid, before)
                inside = runner.to_block_layout(x)  # tokens that are alike are encoded once
                activations = site.sae.encode(inside)
                visit(index, rows, resid, x, runner.from_block_layout(activations))
                outputs.append(
                    ChunkOutput(rows, output, runner.from_block_layout(site.sae.rebuild(activations, inside)))
                )
            error_of = errors(index, outputs)
            for chunk, width, before in zip(outputs, widths, patches, strict=True):
                error = error_of(chunk.rows, width)
                spliced = chunk.rebuilt if error is None else chunk.rebuilt + error
                inside = (ids[chunk.rows, :width] >= 0).unsqueeze(-1)
                before.append(_constant(torch.where(inside, spliced.to(chunk.output.dtype), chunk.output)))
        if group.stop == len(sites):
            return
        for number, (runner, resid) in enumerate(zip(runners, resids, strict=True)):
            after = run_patched(runner, here, resid, patches[number])
            resids[number] = runner.run_blocks(after, here[0].depth_after, sites[group.stop].depth)


def _constant(value: Tensor) -> HookPatch:
    return lambda _, __: value


def _next_depth(model: LanguageModel, sites: Sequence[Site], index: int) -> int:
    """The depth of the site behind site number `index`, -1 for the first; behind the last, the model's depth."""
    return sites[index + 1].depth if index + 1 < len(sites) else model.n_layers


class LatentStats:
    """Statistics of the latents of one site on the clean or the corrupt train prompts, for each position.

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
        """Adds the activations `[row, position, latent]` of the rows `rows`."""
        ids = self._ids[rows, : activations.shape[1]]
        self.means.add(ids, activations)
        inside = ids >= 0
        flat, values = ids[inside], activations[inside]
        for position in torch.unique(flat):
            top = values[flat == position].amax(0)
            self.peak[position] = torch.maximum(self.peak[position], top)
        n_positions = len(self.peak)
        row_and_position = torch.arange(len(rows), device=ids.device).unsqueeze(1) * n_positions + ids
        hits = torch.zeros(len(rows) * n_positions, activations.shape[-1], device=ids.device)
        hits.index_add_(0, row_and_position[inside], (values != 0).float())
        self.rows_fired += (hits > 0).float().reshape(len(rows), n_positions, -1).sum(0)


def mean_errors(groups: Tensor, n_groups: int, outputs: Sequence[ChunkOutput]) -> Tensor:
    """The mean SAE error `[group, d_out]` over the chunks `outputs`; `groups` `[row, position]` as in `GroupMeans`."""
    means = GroupMeans(n_groups, outputs[0].output.shape[-1], groups.device)
    for rows, output, rebuilt in outputs:
        means.add(groups[rows, : output.shape[1]], output.float() - rebuilt)
    return means.mean()
