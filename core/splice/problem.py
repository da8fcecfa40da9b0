"""A problem: model, sites, task and ablation together, ready to be searched and evaluated.

Everything here is fixed once opened. Circuits and masks refer to its `space` of candidate nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from circuit_tui.core.choices import AblationKind, ErrorsKind
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.runtime.parallel_batches import fit_threads
from circuit_tui.core.saes.site import Site
from circuit_tui.core.splice.ablation import GroupMeans, ReferenceTable
from circuit_tui.core.splice.batch import Batch, PreparedSplit
from circuit_tui.core.splice.batch_shape import BatchShape
from circuit_tui.core.splice.nodes import NodeSpace
from circuit_tui.core.splice.reference_passes import (
    ChunkOutput,
    ErrorOf,
    LatentStats,
    PlainPass,
    chunks,
    mean_errors,
    plain_pass,
    spliced_pass,
)
from circuit_tui.core.splice.resample import ResampleDraws
from circuit_tui.core.tasks.answers import Answers
from circuit_tui.core.tasks.positions import Alignment
from circuit_tui.core.tasks.task import Split, Task
from circuit_tui.core.tasks.tokens import PromptSet


@dataclass(frozen=True, slots=True)
class Problem:
    """Everything that searches and evaluators need; nothing in it changes.

    Attributes:
        model, sites, task: the parts; the sites in the order in which activations pass them.
        prompt_sets: the tokenised prompts of each split.
        alignment: the positions of their tokens.
        ablation, errors: the choices that define a node's reference and the SAE error.
        reference_tables: for each site the reference values of its latents.
        space: the candidate nodes.
        splits: the clean prompts of each split, run up to the first site.
        clean_stats, corrupt_stats: for each site its latents' statistics on the train prompts under M_s.
        spliced_resids, spliced_corrupt_resids: for each site the residual `[row, position, d_model]` that enters its
            group under M_s, on the clean and the corrupt train prompts.
        spliced_sae_inputs, spliced_corrupt_sae_inputs: for each site the input `[row, position, d_in]` of its SAE in
            the same passes; the same tensors where that is the residual.
        batch_size: the largest number of prompts in one forward pass, None for no limit.
        recompute: whether a backward pass computes activations again instead of keeping them.
        n_parallel: how many batches may run at once (`runtime/parallel_batches.py`).
        error_means: for each site its mean SAE errors `[mean group, d_out]`; empty unless they replace the errors.
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
    error_means: tuple[Tensor, ...] = ()

    @property
    def n_positions(self) -> int:
        """Number of positions."""
        return len(self.alignment.names)

    def limited_like(self, other: Problem) -> Problem:
        """This problem with what limits the memory of `other`: `batch_size` and `recompute`."""
        return replace(self, batch_size=other.batch_size, recompute=other.recompute)

    def batch(self, split: Split, prompts: Tensor, shape: BatchShape | None = None) -> Batch:
        """The prompts with indices `prompts` of `split`, ready to run; in `shape`, one of `batch_shape`, if given."""
        transformed = [site.sae.transform is not None for site in self.sites]
        return Batch(
            self.splits[split], prompts, self.reference_tables, self.n_positions, transformed, self.recompute, shape
        )

    def batch_shape(self, split: Split, n_prompts: int) -> BatchShape:
        """The shape that any `n_prompts` prompts of a split fit in."""
        prepared = self.splits[split]
        return BatchShape.of(n_prompts, prepared.ids, prepared.answers, self.n_positions)

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
    prompt_sets: dict[Split, PromptSet],
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
    builder = _Builder(model, sites, prompt_sets, alignment, errors, batch_size)
    progress("plain model")
    plain = {
        (split, side): builder.plain(split, side)
        for split in prompt_sets
        for side in ("clean", "corrupt")
        if side == "clean" or split == "train"
    }
    source = "clean" if ablation == "clean-mean" else "corrupt"
    progress("spliced model, train prompts")
    first = builder.run_train(source, plain)
    second = builder.run_train("corrupt" if source == "clean" else "clean", plain, first.error_means)
    clean, corrupt = (first, second) if source == "clean" else (second, first)
    tables = tuple(
        builder.reference_table(ablation, site, first.means[index], corrupt.activations[index])
        for index, site in enumerate(sites)
    )
    space = NodeSpace.from_fired(
        [(a.rows_fired > 0) | (b.rows_fired > 0) for a, b in zip(clean.stats, corrupt.stats, strict=True)],
        extra_nodes,
    )
    splits = {
        split: builder.prepared_split(split, plain[split, "clean"], ablation, first.error_means, seed, task.name)
        for split in prompt_sets
    }
    longest = max(prompts.clean.tokens.shape[1] for prompts in prompt_sets.values())
    n_parallel = fit_threads(model.device, model.d_model, longest, separable=separable(model, sites))
    return Problem(
        model, tuple(sites), task, prompt_sets, alignment, ablation, errors, tables, space, splits,
        tuple(clean.stats), tuple(corrupt.stats), tuple(clean.resids), tuple(corrupt.resids),
        tuple(clean.sae_inputs), tuple(corrupt.sae_inputs), batch_size, n_parallel=n_parallel,
        error_means=tuple(first.error_means),
    )  # fmt: skip


def with_test_prompts(problem: Problem, prompts: PromptSet, alignment: Alignment, seed: int) -> Problem:
    """Returns `problem` with `prompts` as its test prompts; references, candidates and statistics stay.

    `alignment` has the positions of its train prompts and of `prompts`; `seed` is of the draw of ``resample``.

    Raises:
        UserError: ``resample`` has nothing to draw from for some prompt.
    """
    sets: dict[Split, PromptSet] = {"train": problem.prompt_sets["train"], "test": prompts}
    builder = _Builder(problem.model, problem.sites, sets, alignment, problem.errors, problem.batch_size)
    prepared = builder.prepared_split(
        "test", builder.plain("test", "clean"), problem.ablation, list(problem.error_means), seed, problem.task.name
    )
    splits: dict[Split, PreparedSplit] = {"train": problem.splits["train"], "test": prepared}
    return replace(problem, prompt_sets=sets, alignment=alignment, splits=splits)


def separable(model: LanguageModel, sites: Sequence[Site]) -> bool:
    """Whether passes in several threads do not disturb one another.

    Hooks patch the inside of a block, which every thread would run. Rows padded on the left have the blocks' arguments
    recorded in passes of their own, during which no other thread may run the model.
    """
    return model.padding_side == "right" and len(model.devices) == 1 and all(site.inside is None for site in sites)


def reference_rows_of(
    alignment: Alignment, split: Split, ablation: AblationKind, answers: Answers, seed: int, places: Sequence[str]
) -> tuple[Tensor, Tensor | None]:
    """The row of the reference table that each clean token of a split takes, `[row, position]`.

    Also `[group]` the row of each position where it alone decides the row, else None. `answers` are those of the
    split, `seed` is of the draw of ``resample``, `places` say where each prompt is from (`Pair.place`).

    Raises:
        UserError: ``resample`` has nothing to draw from for some prompt.
    """
    groups = alignment.mean_groups[split, "clean"]
    if ablation == "zero":
        return torch.zeros_like(groups), torch.zeros(len(alignment.names), dtype=torch.long, device=groups.device)
    if ablation == "resample":
        return ResampleDraws(alignment, split, answers, places).rows(seed), None
    by_position = torch.arange(len(alignment.names), device=groups.device) if alignment.kind != "shared" else None
    return groups, by_position


@dataclass(slots=True)
class _TrainRun:
    """The run of M_s on the clean or the corrupt train prompts; lists have one entry for each site.

    Attributes:
        stats: of the latents, for each position.
        means: of the latents, for each mean group.
        error_means: `[mean group, d_out]` mean SAE errors; empty unless errors are replaced by their mean.
        resids, sae_inputs: as in `Problem`.
        activations: of each chunk its rows and the sparse activations `[row, position, latent]`.
    """

    stats: list[LatentStats]
    means: list[GroupMeans]
    error_means: list[Tensor]
    resids: list[Tensor]
    sae_inputs: list[Tensor]
    activations: list[list[tuple[Tensor, Tensor]]]


class _Builder:
    def __init__(
        self,
        model: LanguageModel,
        sites: Sequence[Site],
        prompt_sets: dict[Split, PromptSet],
        alignment: Alignment,
        errors: ErrorsKind,
        batch_size: int | None,
    ) -> None:
        self.model, self.sites, self.prompt_sets, self.alignment = model, sites, prompt_sets, alignment
        self.errors = errors
        self.size = None if batch_size is None else batch_size * prompt_sets["train"].answers.rows_per_prompt

    def plain(self, split: Split, side: str) -> PlainPass:
        """M on the clean or the corrupt prompts of a split."""
        prompts = self.prompt_sets[split]
        answers, keep = prompts.answers if side == "clean" else None, self.errors == "keep"
        return plain_pass(self.model, self.sites, getattr(prompts, side), answers, errors=keep, size=self.size)

    def run_train(
        self, side: str, plain: dict[tuple[Split, str], PlainPass], error_means: list[Tensor] | None = None
    ) -> _TrainRun:
        """Runs M_s over the clean or the corrupt train prompts. Mean errors are taken from these unless given."""
        prompts = getattr(self.prompt_sets["train"], side)
        ids, groups = self.alignment.ids["train", side], self.alignment.mean_groups["train", side]
        own, n_groups = plain["train", side], self.alignment.n_mean_groups
        resids = [torch.zeros_like(own.prefix) for _ in self.sites]
        run = _TrainRun(
            stats=[LatentStats(ids, len(self.alignment.names), site.sae.d_sae) for site in self.sites],
            means=[GroupMeans(n_groups, site.sae.d_sae, ids.device) for site in self.sites],
            error_means=[],
            resids=resids,
            sae_inputs=[
                resid if site.inside is None else resid.new_zeros(*resid.shape[:2], site.sae.d_in)
                for site, resid in zip(self.sites, resids, strict=True)
            ],
            activations=[[] for _ in self.sites],
        )

        def visit(index: int, rows: Tensor, resid: Tensor, x: Tensor, activations: Tensor) -> None:
            run.stats[index].add(rows, activations)
            run.means[index].add(groups[rows, : activations.shape[1]], activations)
            run.resids[index][rows, : resid.shape[1]] = resid
            if self.sites[index].inside is not None:
                run.sae_inputs[index][rows, : resid.shape[1]] = x
            run.activations[index].append((rows, activations.to_sparse()))

        def errors(index: int, outputs: list[ChunkOutput]) -> ErrorOf:
            if self.errors == "keep":
                return lambda rows, width: own.errors[index][rows, :width]
            if self.errors == "drop":
                return lambda rows, width: None
            if error_means is None:
                run.error_means.append(mean_errors(groups, n_groups, outputs))
            table = (error_means or run.error_means)[index]
            return lambda rows, width: table[groups[rows, :width].clamp(min=0)]

        spliced_pass(self.model, self.sites, prompts, own.prefix, ids, groups, visit, errors, self.size)
        return run

    def reference_table(
        self, ablation: AblationKind, site: Site, means: GroupMeans, corrupt: list[tuple[Tensor, Tensor]]
    ) -> ReferenceTable:
        """The references of one site, from its latents' `means` or their activations on the corrupt train prompts."""
        if ablation == "zero":
            values = torch.zeros(1, site.sae.d_sae, device=self.model.device)
        elif ablation == "resample":
            shape = self.prompt_sets["train"].corrupt.tokens.shape
            every = torch.zeros(*shape, site.sae.d_sae, device=self.model.device)
            for rows, activations in corrupt:
                every[rows, : activations.shape[1]] = activations.to_dense()
            values = every.flatten(0, 1)
        else:
            values = means.mean()
        return ReferenceTable(values, site.sae.decode(values))

    def prepared_split(
        self,
        split: Split,
        plain: PlainPass,
        ablation: AblationKind,
        error_means: list[Tensor],
        seed: int,
        task: str,
    ) -> PreparedSplit:
        """The clean prompts of a split with their references and errors."""
        prompts = self.prompt_sets[split]
        ids, groups = self.alignment.ids[split, "clean"], self.alignment.mean_groups[split, "clean"]
        places = [pair.place(task) for pair in prompts.pairs]
        rows, row_of_group = reference_rows_of(self.alignment, split, ablation, prompts.answers, seed, places)
        errors: tuple[Tensor | None, ...] = tuple(None for _ in self.sites)
        if self.errors == "keep":
            errors = plain.errors
        elif self.errors == "mean":
            errors = tuple(table[groups.clamp(min=0)] for table in error_means)
        return PreparedSplit(
            prompts.clean.tokens, plain.prefix, ids, rows, row_of_group, errors,
            prompts.clean.lengths, prompts.answers, plain.logits,
        )  # fmt: skip
