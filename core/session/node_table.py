"""The table of candidate nodes: statistics from the opening passes, and labels from the prompts."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.clean_against_corrupt import MAX_ACTIVATIONS, pair_differences
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.views import NodeTable, SiteInfo

LABEL_TOKENS = 2


def node_table(problem: Problem) -> NodeTable:
    """Returns the table of all candidate nodes of `problem`."""
    space = problem.space
    columns: dict[str, list[float]] = {"mean_clean": [], "mean_corrupt": [], "max": [], "frequency": []}
    labels: list[str] = []
    differences: list[float | None] = []
    n_rows = len(problem.splits["train"].lengths)
    for index in range(len(problem.sites)):
        nodes = problem.space.of_site(index)
        indices = (space.position[nodes.start : nodes.stop], space.latent[nodes.start : nodes.stop])
        clean, corrupt = problem.clean_stats[index], problem.corrupt_stats[index]
        tables = {
            "mean_clean": clean.means.mean(),
            "mean_corrupt": corrupt.means.mean(),
            "max": clean.peak,
            "frequency": clean.rows_fired / n_rows,
        }
        for name, table in tables.items():
            columns[name] += table.cpu()[indices].tolist()
        differences += [None if value != value else value for value in pair_differences(problem, index).tolist()]
        label_by_latent = latent_labels(problem, index, indices[1].unique())
        labels += [label_by_latent[latent] for latent in indices[1].tolist()]
    return NodeTable(
        sites=tuple(
            SiteInfo(
                site.hook, site.short, site.sae.name, site.sae.architecture, site.sae.d_sae, len(space.of_site(index))
            )
            for index, site in enumerate(problem.sites)
        ),
        positions=problem.alignment.names,
        site=tuple(space.site.tolist()),
        position=tuple(space.position.tolist()),
        latent=tuple(space.latent.tolist()),
        label=tuple(labels),
        mean_clean=tuple(columns["mean_clean"]),
        mean_corrupt=tuple(columns["mean_corrupt"]),
        max=tuple(columns["max"]),
        frequency=tuple(columns["frequency"]),
        difference=tuple(differences),
    )


@torch.no_grad()
def latent_labels(problem: Problem, site: int, latents: Tensor) -> dict[int, str]:
    """Returns a label for each latent: the tokens of the clean train prompts at which its mean activation is largest.

    A label says where the latent fires on this task, not what it means. It is empty if it never fires on clean prompts.
    """
    side, sae = problem.prompt_sets["train"].clean, problem.sites[site].sae
    inside = problem.alignment.ids["train", "clean"] >= 0
    vocabulary, word_of_token = side.tokens[inside].unique(return_inverse=True)
    x = problem.spliced_sae_inputs[site][inside]
    counts = torch.bincount(word_of_token, minlength=len(vocabulary)).clamp(min=1)
    sums = torch.zeros(len(vocabulary), len(latents), device=x.device)
    columns = latents.to(x.device)
    rows_per_batch = max(1, MAX_ACTIVATIONS // sae.d_sae)
    for rows in torch.arange(len(x), device=x.device).split(rows_per_batch):
        sums.index_add_(0, word_of_token[rows], sae.encode(x[rows])[:, columns])
    means, order = (sums / counts.unsqueeze(1)).topk(min(LABEL_TOKENS, len(vocabulary)), dim=0)
    words = [problem.model.tokenizer.decode([int(token)]).strip() for token in vocabulary]
    labels = {}
    for column, latent in enumerate(latents.tolist()):
        fired = [words[int(row)] for row, mean in zip(order[:, column], means[:, column], strict=True) if mean > 0]
        labels[latent] = " ".join(fired)
    return labels


def label_of(table: NodeTable, site: int, latent: int) -> str:
    """Returns the label of a latent at a site; empty if it is no candidate."""
    for node_site, node_latent, label in zip(table.site, table.latent, table.label, strict=True):
        if (node_site, node_latent) == (site, latent):
            return label
    return ""


def node_name(table: NodeTable, node: int) -> str:
    """Returns a node's name for the user, ``L1 412@subject``."""
    return f"{table.sites[table.site[node]].short} {table.latent[node]}@{table.positions[table.position[node]]}"


def circuit_of(table: NodeTable, nodes: Collection[int]) -> Tensor:
    """Returns the circuit of these nodes, `[node]` bool. Raises UserError if one is out of range."""
    for node in nodes:
        if not 0 <= node < len(table):
            raise UserError(f"node {node}: out of range, there are {len(table)}")
    kept = torch.zeros(len(table), dtype=torch.bool)
    kept[torch.tensor(sorted(nodes), dtype=torch.long)] = True
    return kept
