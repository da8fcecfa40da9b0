"""A close view of one latent: where it fires on the train prompts, what its decoder writes, and its neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from circuit_tui.core.latents.examples import banded, prompt_examples, side_activations
from circuit_tui.core.latents.top_tokens import TokenNames, written_directions
from circuit_tui.core.models.readout import Readout
from circuit_tui.core.opening.attention_sinks import sink_length
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.views import LatentView

HISTOGRAM_BINS = 24
TOP_TOKENS = 8
NEIGHBOURS = 6


@torch.no_grad()
def latent_view(
    problem: Problem,
    readout: Readout,
    names: TokenNames,
    site: int,
    latent: int,
    label: str,
    mask_steps: Sequence[int] = (),
    mask_path: Sequence[Tensor] = (),
    logit_diff: Tensor | None = None,
) -> LatentView:
    """Returns the view of `latent` at `site`. `mask_path` has the mask `[node]` at each of `mask_steps`.

    `logit_diff` `[prompt]` is that of the circuit on the clean train prompts, if it is known. `readout` is that of the
    problem's model, `names` has its tokens.
    """
    sae = problem.sites[site].sae
    activations = clean_activations(problem, site, latent)
    positive = activations[activations > 0]
    peak = float(positive.max()) if len(positive) else 0.0
    histogram = torch.histc(positive, HISTOGRAM_BINS, 0.0, peak) if len(positive) else torch.zeros(HISTOGRAM_BINS)
    corrupt = problem.corrupt_stats[site].means.mean()[:, latent].tolist()
    clean = problem.clean_stats[site].means.mean()[:, latent].tolist()
    direction = sae.w_dec[latent]
    written = written_directions(problem, site, [latent])
    up, promoted, down, suppressed = (part[0].tolist() for part in readout.extreme_tokens(written, TOP_TOKENS))
    cosine = torch.nn.functional.cosine_similarity(sae.w_dec, direction.unsqueeze(0), dim=1)
    cosine[latent] = -2.0  # it is no neighbour of its own
    return LatentView(
        site=site,
        latent=latent,
        label=label,
        histogram=tuple(int(count) for count in histogram),
        histogram_max=peak,
        bands=banded(prompt_examples(problem, site, latent, sink_length(problem, site), logit_diff)),
        profile=tuple(zip(problem.alignment.names, clean, corrupt, strict=True)),
        promotes=tuple((names[token], weight) for token, weight in zip(promoted, up, strict=True)),
        suppresses=tuple((names[token], weight) for token, weight in zip(suppressed, down, strict=True)),
        answers=_answers(problem, readout, names, written),
        soft_cap=readout.soft_cap,
        neighbours=tuple(
            (int(index), float(cosine[index])) for index in cosine.topk(min(NEIGHBOURS, sae.d_sae - 1))[1]
        ),
        mask_steps=tuple(mask_steps),
        mask_path=_path(problem, site, latent, mask_path),
    )


def clean_activations(problem: Problem, site: int, latent: int) -> Tensor:
    """Returns a latent's activations on the clean train prompts under M_s, `[row, position]`; 0 at BOS and padding."""
    activations = side_activations(problem, site, latent, problem.spliced_sae_inputs[site])
    return activations * (problem.alignment.ids["train", "clean"] >= 0)


def _answers(problem: Problem, readout: Readout, names: TokenNames, written: Tensor) -> tuple[tuple[str, float], ...]:
    """Returns the logit weight of `written` `[1, d_model]` on each answer of the task, the largest first.

    The answers are the tokens in which right and wrong answers first differ.
    """
    answers = [prompts.answers for prompts in problem.prompt_sets.values()]
    tokens = torch.cat([part for each in answers for part in (each.right, each.wrong)]).unique()
    weights, order = readout.weights(written, tokens)[0].sort(descending=True)
    return tuple((names[token], weight) for token, weight in zip(tokens[order].tolist(), weights.tolist(), strict=True))


def _path(problem: Problem, site: int, latent: int, masks: Sequence[Tensor]) -> dict[str, tuple[float, ...]]:
    if not masks:
        return {}
    nodes = problem.space.of_site(site)
    own = (problem.space.latent[nodes.start : nodes.stop] == latent).nonzero()[:, 0] + nodes.start
    names = problem.alignment.names
    return {
        names[int(problem.space.position[node])]: tuple(float(mask[node]) for mask in masks) for node in own.tolist()
    }
