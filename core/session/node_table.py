"""The table of candidate nodes that a reader sees: statistics from the opening passes, and a label from the prompts."""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.views import NodeTable, SiteInfo

LABEL_TOKENS = 2
# So many numbers are computed at once: 256 MB.
MOST_ACTIVATIONS = 2**26


def node_table(problem: Problem) -> NodeTable:
    """All candidate nodes in columns, see `NodeTable`."""
    space = problem.space
    columns: dict[str, list[float]] = {"mean_clean": [], "mean_corrupt": [], "max": [], "frequency": []}
    labels: list[str] = []
    n_rows = len(problem.splits["train"].lengths)
    for index in range(len(problem.sites)):
        nodes = problem.space.of_site(index)
        where = (space.position[nodes.start : nodes.stop], space.latent[nodes.start : nodes.stop])
        clean, corrupt = problem.clean_stats[index], problem.corrupt_stats[index]
        tables = {
            "mean_clean": clean.means.mean(),
            "mean_corrupt": corrupt.means.mean(),
            "max": clean.peak,
            "frequency": clean.rows_fired / n_rows,
        }
        for name, table in tables.items():
            columns[name] += table.cpu()[where].tolist()
        named = latent_labels(problem, index, where[1].unique())
        labels += [named[latent] for latent in where[1].tolist()]
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
    )


@torch.no_grad()
def latent_labels(problem: Problem, site: int, latents: Tensor) -> dict[int, str]:
    """For each latent the tokens of the clean train prompts at which its mean activation is largest.

    A description of where it fires on this task, not of what it means. Empty where it never fires on clean prompts.
    """
    side, sae = problem.prompt_sets["train"].clean, problem.sites[site].sae
    inside = problem.alignment.ids["train", "clean"] >= 0
    vocabulary, which = side.tokens[inside].unique(return_inverse=True)
    arrived = problem.spliced_sae_inputs[site][inside]
    counts = torch.bincount(which, minlength=len(vocabulary)).clamp(min=1)
    sums = torch.zeros(len(vocabulary), len(latents), device=arrived.device)
    columns = latents.to(arrived.device)
    at_once = max(1, MOST_ACTIVATIONS // sae.d_sae)
    for rows in torch.arange(len(arrived), device=arrived.device).split(at_once):
        sums.index_add_(0, which[rows], sae.encode(arrived[rows])[:, columns])
    means, order = (sums / counts.unsqueeze(1)).topk(min(LABEL_TOKENS, len(vocabulary)), dim=0)
    words = [problem.model.tokenizer.decode([int(token)]).strip() for token in vocabulary]
    labels = {}
    for column, latent in enumerate(latents.tolist()):
        fired = [words[int(row)] for row, mean in zip(order[:, column], means[:, column], strict=True) if mean > 0]
        labels[latent] = " ".join(fired)
    return labels


def label_of(table: NodeTable, site: int, latent: int) -> str:
    """The label of a latent at a site, empty where it is no candidate."""
    for at, number, label in zip(table.site, table.latent, table.label, strict=True):
        if (at, number) == (site, latent):
            return label
    return ""
