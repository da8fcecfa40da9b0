"""The prompts on which edges are computed: a batch with the embeddings of its tokens and their means."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.splice.ablation import GroupMeans
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.splice.reference_passes import chunks
from circuit_tui.core.tasks.task import Split


@dataclass(frozen=True, slots=True)
class EdgePrompts:
    """Some prompts, ready for edges.

    Attributes:
        batch: the prompts, run up to the first site.
        ids, reference_rows: `[row, position]`, as in `PreparedSplit`.
        errors: for each site the SAE error `[row, position, d_out]`, None where dropped.
        embedding, mean_embedding: `[row, position, d_model]` the stream that enters block 0, and its mean over the
            corrupt train prompts at the same position.
    """

    batch: Batch
    ids: Tensor
    reference_rows: Tensor
    errors: tuple[Tensor | None, ...]
    embedding: Tensor
    mean_embedding: Tensor


def mean_embeddings(problem: Problem) -> Tensor:
    """Mean embeddings `[mean group, d_model]` over the corrupt train prompts."""
    prompts, model = problem.prompt_sets["train"].corrupt, problem.model
    groups = problem.alignment.mean_groups["train", "corrupt"]
    means = GroupMeans(problem.alignment.n_mean_groups, model.d_model, model.device)
    for rows in chunks(prompts.lengths, problem.batch_size):
        width = int(prompts.lengths[rows].max())
        means.add(groups[rows, :width], model.embed(prompts.tokens[rows, :width]))
    return means.mean()


def edge_prompts(problem: Problem, split: Split, prompts: Tensor | None, means: Tensor) -> list[EdgePrompts]:
    """The prompts with indices `prompts` of a split (all if None), in batches alike in length.

    `means` are those of `mean_embeddings`.
    """
    prepared, tokens = problem.splits[split], problem.prompt_sets[split].clean.tokens
    groups, found = problem.alignment.mean_groups[split, "clean"], []
    for batch in problem.batches(split, prompts):
        rows, width = batch.rows, batch.prefix.shape[1]
        embedding = problem.model.embed(tokens[rows, :width])
        mean = torch.where((groups[rows, :width] >= 0).unsqueeze(-1), means[groups[rows, :width].clamp(min=0)], 0.0)
        found.append(
            EdgePrompts(
                batch,
                prepared.ids[rows, :width],
                prepared.reference_rows[rows, :width],
                tuple(None if error is None else error[rows, :width] for error in prepared.errors),
                embedding,
                mean,
            )
        )
    return found
