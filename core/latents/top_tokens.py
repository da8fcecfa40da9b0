"""The tokens that decoder directions promote and suppress: for one latent with their weights, for many by name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from circuit_tui.core.latents.views import TopTokens
from circuit_tui.core.models.readout import Readout
from circuit_tui.core.splice.hook_patch import output_direction
from circuit_tui.core.splice.problem import Problem

LISTED_TOKENS = 5
"""How many tokens at each end a list shows and a filter finds."""
MAX_WEIGHTS = 2**25
"""The most logit weights that are computed at once: 128 MB."""


class TokenNames:
    """The text of each token of a vocabulary, decoded once."""

    def __init__(self, problem: Problem) -> None:
        self._tokenizer = problem.model.tokenizer
        self._names: dict[int, str] = {}

    def __getitem__(self, token: int) -> str:
        """The text of one token."""
        if token not in self._names:
            self._names[token] = str(self._tokenizer.decode([token]))
        return self._names[token]


@torch.no_grad()
def written_directions(problem: Problem, site: int, latents: Sequence[int]) -> Tensor:
    """Returns what the decoder directions of `latents` at a site write to the stream, `[latent, d_model]`."""
    chosen = torch.tensor(list(latents), device=problem.model.device)
    directions = problem.sites[site].sae.directions(chosen)
    return output_direction(problem.model, problem.sites[site], directions).float()


@torch.no_grad()
def top_tokens(
    problem: Problem, readout: Readout, names: TokenNames, site: int, latents: Sequence[int]
) -> tuple[TopTokens, ...]:
    """Returns the `LISTED_TOKENS` tokens at each end for `latents` of one site."""
    _, promoted, _, suppressed = readout.extreme_tokens(written_directions(problem, site, latents), LISTED_TOKENS)
    return tuple(
        TopTokens(site, latent, tuple(names[token] for token in up), tuple(names[token] for token in down))
        for latent, up, down in zip(latents, promoted.tolist(), suppressed.tolist(), strict=True)
    )


def latents_per_turn(problem: Problem) -> int:
    """Returns how many latents `top_tokens` takes at once."""
    return max(1, min(256, MAX_WEIGHTS // int(problem.model.bridge.unembed.W_U.shape[1])))
