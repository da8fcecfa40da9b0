"""A problem: model, sites, task and ablation put together, ready to be searched and evaluated.

Everything here is fixed once opened. Circuits and masks refer to its `space` of candidate nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.choices import AblationKind, ErrorsKind
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.runtime.parallel_batches import fit_threads
from circuit_tui.core.saes.site import Site
from circuit_tui.core.splice.ablation import GroupMeans, ReferenceTable, resample_rows
from circuit_tui.core.splice.batch import Batch, PreparedSplit
from circuit_tui.core.splice.nodes import NodeSpace
from circuit_tui.core.splice.reference_passes import (
    ChunkOutput,
    LatentStats,
    PlainPass,
    chunks,
    mean_errors,
    plain_pass,
    spliced_pass,
)
from circuit_tui.core.tasks.answers import Answers
from circuit_tui.core.tasks.positions import Alignment
from circuit_tui.core.tasks.task import Split, Task
from circuit_tui.core.tasks.tokens import PromptSet


@dataclass(frozen=True, slots=True)
class Problem:
    """The frozen whole. `reference_tables`, the counts and what is `spliced_…` have one entry for each site.

    `spliced_resids` and `spliced_corrupt_resids` are the residuals entering the stop of each site under M_s on the
    clean and the corrupt train prompts, `[row, position, d_model]`; `spliced_sae_inputs` and `spliced_corrupt_sae_inputs` what
    its SAE reads then, `[row, position, d_in]`, the same tensors where that is the residual. `batch_size` is the
    largest number of prompts in one forward pass, None for no limit; with `recompute` a backward pass computes
    activations again instead of finding them kept. Up to `n_parallel` batches are run at once (`parallel_batches.py`).
    """

    model: LanguageModel
    sites: tuple[Site, ...]
    task: Task
    prompt_sets: dict[Split, PromptSet]
    alignment: Alignment
    ablation: AblationKind
    errors: ErrorsKind
    reference_tables: tuple[ReferenceTable, ...]
    space: NodeSpace
    splits: dict[Split, PreparedSplit]
    clean_stats: tuple[LatentStats, ...]
    corrupt_stats: tuple[LatentStats, ...]
    spliced_resids: tuple[Tensor, ...]
    spliced_corrupt_resids: tuple[Tensor, ...]
    spliced_sae_inputs: tuple[Tensor, ...]
    spliced_corrupt_sae_inputs: tuple[Tensor, ...]
    batch_size: int | None
    recompute: bool = False
    n_parallel: int = 1

    @property
    def n_positions(self) -> int:
        """Number of position names."""
        return len(self.alignment.names)

    def batch(self, split: Split, prompts: Tensor) -> Batch:
        """The prompts with indices `prompts` of `split`, ready to run."""
        transformed = [site.sae.transform is not None for site in self.sites]
        return Batch(self.splits[split], prompts, self.reference_tables, self.n_positions, transformed, self.recompute)

    def batches(self, split: Split, prompts: Tensor | None = None, size: int | None = None) -> list[Batch]:
        """The prompts with indices `prompts` of a split (all if None) in batches of at most `size`, alike in length.

        `size` None means `batch_size`, which is the limit in any case.
        """
        lengths = self.splits[split].prompt_lengths
        chosen = torch.arange(len(lengths), device=lengths.device) if prompts is None else prompts
        limit = min((part for part in (size, self.batch_size) if part is not None), default=None)
        batches = [self.batch(split, chosen[part]) for part in chunks(lengths[chosen], limit)]
        if self.n_parallel > 1:
            for batch in batches:
                self.model.record(batch.prefix.shape[1])
        return batches


def build_problem(
    model: LanguageModel,
    sites: Sequence[Site],
    task: Task,
    sets: dict[Split, PromptSet],
    alignment: Alignment,
    ablation: AblationKind,
    errors: ErrorsKind,
    batch_size: int | None,
    seed: int,
    extra_nodes: Iterable[tuple[int, int, int]] = (),
    progress: Callable[[str], None] = lambda text: None,
) -> Problem:
    """Runs M and M_s over the task and derives references, statistics and candidates.

    Candidates are the (site, position, latent) that fire under M_s on a clean or a corrupt train prompt: any other is
    at its reference, 0, in every statistic, and needs no parameter. `extra_nodes` are added to them.

    Raises:
        UserError: ``resample`` has nothing to draw from for some prompt.
    """
    builder = _Builder(model, sites, sets, alignment, errors, batch_size)
    progress("plain model")
    plain = {
        (split, side): builder.plain(split, side)
        for split in sets
        for side in ("clean", "corrupt")
        if side == "clean" or split == "train"
    }
    source = "clean" if ablation == "clean-mean" else "corrupt"
    progress("spliced model, train prompts")
    visited = builder.visit_train(source, plain)
    other = builder.visit_train("corrupt" if source == "clean" else "clean", plain, visited.error_means)
    clean, corrupt = (visited, other) if source == "clean" else (other, visited)
    tables = tuple(
        builder.reference_rows(ablation, site, visited.cell_means[index], corrupt.activations[index])
        for index, site in enumerate(sites)
    )
    space = NodeSpace.from_fired(
        [(a.rows_fired > 0) | (b.rows_fired > 0) for a, b in zip(clean.counts, corrupt.counts, strict=True)],
        extra_nodes,
    )
    splits = {
        split: builder.split_tensors(split, plain[split, "clean"], ablation, visited.error_means, seed, task.name)
        for split in sets
    }
    longest = max(prompts.clean.tokens.shape[1] for prompts in sets.values())
    n_parallel = fit_threads(model.device, model.d_model, longest, separable=separable(model, sites))
    return Problem(
        model, tuple(sites), task, sets, alignment, ablation, errors, tables, space, splits,
        tuple(clean.counts), tuple(corrupt.counts), tuple(clean.inputs), tuple(corrupt.inputs),
        tuple(clean.reads), tuple(corrupt.reads), batch_size, n_parallel=n_parallel,
    )  # fmt: skip


def separable(model: LanguageModel, sites: Sequence[Site]) -> bool:
    """Whether passes in several threads do not see each other.

    A change inside a block is made by hooks, which every thread would see; a padded model is a view for one batch.
    """
    return model.padding_side == "right" and len(model.devices) == 1 and all(site.inside is None for site in sites)


def reference_rows_of(
    alignment: Alignment, split: Split, ablation: AblationKind, answers: Answers, seed: int, task: str
) -> tuple[Tensor, Tensor | None]:
    """The row of the reference table that each clean token of a split takes, `[row, position]`.

    Also `[group]` the row of each position where it alone decides the row, else None. `answers` are those of the
    split, `seed` is of the draw of ``resample``.

    Raises:
        UserError: ``resample`` has nothing to draw from for some prompt.
    """
    cells = alignment.mean_groups[split, "clean"]
    if ablation == "zero":
        return torch.zeros_like(cells), torch.zeros(len(alignment.names), dtype=torch.long, device=cells.device)
    if ablation == "resample":
        return resample_rows(cells, alignment.mean_groups["train", "corrupt"], answers, seed, task), None
    by_group = torch.arange(len(alignment.names), device=cells.device) if alignment.kind != "shared" else None
    return cells, by_group


@dataclass(slots=True)
class _Visited:
    """One side of the train prompts under M_s, one entry for each site."""

    counts: list[LatentStats]
    cell_means: list[GroupMeans]
    error_means: list[Tensor]
    inputs: list[Tensor]
    reads: list[Tensor]
    activations: list[list[tuple[Tensor, Tensor]]]


class _Builder:
    def __init__(
        self,
        model: LanguageModel,
        sites: Sequence[Site],
        sets: dict[Split, PromptSet],
        alignment: Alignment,
        errors: ErrorsKind,
        batch_size: int | None,
    ) -> None:
        self.model, self.sites, self.sets, self.alignment = model, sites, sets, alignment
        self.errors = errors
        self.size = None if batch_size is None else batch_size * sets["train"].answers.rows_per_prompt

    def plain(self, split: Split, side: str) -> PlainPass:
        prompts = self.sets[split]
        answers, keep = prompts.answers if side == "clean" else None, self.errors == "keep"
        return plain_pass(self.model, self.sites, getattr(prompts, side), answers, errors=keep, size=self.size)

    def visit_train(
        self, side: str, plain: dict[tuple[Split, str], PlainPass], error_means: list[Tensor] | None = None
    ) -> _Visited:
        """M_s over one side of the train prompts. Mean errors are taken from this side unless given."""
        prompts = getattr(self.sets["train"], side)
        ids, cells = self.alignment.ids["train", side], self.alignment.mean_groups["train", side]
        own = plain["train", side]
        inputs = [torch.zeros_like(own.prefix) for _ in self.sites]
        visited = _Visited(
            counts=[LatentStats(ids, len(self.alignment.names), site.sae.d_sae) for site in self.sites],
            cell_means=[GroupMeans(self.alignment.n_mean_groups, site.sae.d_sae, ids.device) for site in self.sites],
            error_means=[],
            inputs=inputs,
            reads=[
                resid if site.inside is None else resid.new_zeros(*resid.shape[:2], site.sae.d_in)
                for site, resid in zip(self.sites, inputs, strict=True)
            ],
            activations=[[] for _ in self.sites],
        )

        def visit(index: int, rows: Tensor, resid: Tensor, read: Tensor, activations: Tensor) -> None:
            visited.counts[index].add(rows, activations)
            visited.cell_means[index].add(cells[rows, : activations.shape[1]], activations)
            visited.inputs[index][rows, : resid.shape[1]] = resid
            if self.sites[index].inside is not None:
                visited.reads[index][rows, : resid.shape[1]] = read
            visited.activations[index].append((rows, activations.to_sparse()))

        def errors(index: int, seen: list[ChunkOutput]) -> Callable[[Tensor, int], Tensor | None]:
            if self.errors == "keep":
                return lambda rows, width: own.errors[index][rows, :width]
            if self.errors == "drop":
                return lambda rows, width: None
            if error_means is None:
                visited.error_means.append(mean_errors(cells, self.alignment.n_mean_groups, seen))
            table = (error_means or visited.error_means)[index]
            return lambda rows, width: table[cells[rows, :width].clamp(min=0)]

        spliced_pass(self.model, self.sites, prompts, own.prefix, ids, visit, errors, self.size)
        return visited

    def reference_rows(
        self, ablation: AblationKind, site: Site, means: GroupMeans, corrupt: list[tuple[Tensor, Tensor]]
    ) -> ReferenceTable:
        if ablation == "zero":
            values = torch.zeros(1, site.sae.d_sae, device=self.model.device)
        elif ablation == "resample":
            shape = self.sets["train"].corrupt.tokens.shape
            every = torch.zeros(*shape, site.sae.d_sae, device=self.model.device)
            for rows, activations in corrupt:
                every[rows, : activations.shape[1]] = activations.to_dense()
            values = every.flatten(0, 1)
        else:
            values = means.mean()
        return ReferenceTable(values, site.sae.decode(values))

    def split_tensors(
        self,
        split: Split,
        plain: PlainPass,
        ablation: AblationKind,
        error_means: list[Tensor],
        seed: int,
        task: str,
    ) -> PreparedSplit:
        prompts = self.sets[split]
        ids, cells = self.alignment.ids[split, "clean"], self.alignment.mean_groups[split, "clean"]
        rows, by_group = reference_rows_of(self.alignment, split, ablation, prompts.answers, seed, task)
        errors: tuple[Tensor | None, ...] = tuple(None for _ in self.sites)
        if self.errors == "keep":
            errors = plain.errors
        elif self.errors == "mean":
            errors = tuple(table[cells.clamp(min=0)] for table in error_means)
        return PreparedSplit(
            plain.prefix, ids, rows, by_group, errors,
            prompts.clean.lengths, prompts.answers, plain.logits,
        )  # fmt: skip
