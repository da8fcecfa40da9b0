"""Where a latent fires in a text of the user's."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from circuit_tui.core.audit.measures.splice_cost import batched, windows
from circuit_tui.core.audit.texts import read_text
from circuit_tui.core.latents.examples import Found, banded, side_activations
from circuit_tui.core.splice.hook_patch import sae_input
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.token_text import token_texts
from circuit_tui.core.views import TextExamples, TokenActivation

BEFORE, AFTER = 12, 4
"""Tokens that are shown in front of the token at which a latent fires most, and behind it."""


@torch.no_grad()
def text_examples(problem: Problem, site: int, latent: int, path: Path) -> TextExamples:
    """Returns where `latent` at `site` fires in the text of a file, by bands of its activation.

    The text is cut into windows as for the cost of the splice (`audit/measures/splice_cost.py`). Activations are those
    under M itself, as sae_vis has them; BOS is left out. Each window counts once, by the token at which it fires
    most.

    Raises:
        UserError: the file cannot be read, or has no two tokens in a row.
    """
    model, depth = problem.model, problem.sites[site].depth
    first = 0 if model.tokenizer.bos_token_id is None else 1
    pool, n_tokens, n_firing = list[Found](), 0, 0
    for tokens in batched(list(windows(problem, read_text(path), path))):
        resid = model.run_blocks(model.embed(tokens), 0, depth)
        x, _ = sae_input(model, [problem.sites[site]], resid)
        activations = side_activations(problem, site, latent, x)[:, first:]
        n_tokens += activations.numel()
        n_firing += int((activations > 0).sum())
        for ids, values in zip(tokens[:, first:].tolist(), activations.tolist(), strict=True):
            at = max(range(len(values)), key=values.__getitem__)
            span = slice(max(0, at - BEFORE), at + AFTER + 1)
            texts = token_texts(model.tokenizer, ids[span])
            shown = TokenActivation(texts, tuple(values[span]), values[at], side="text")
            pool.append(Found(texts, shown.peak, partial(_itself, shown)))
    return TextExamples(site, latent, str(path), n_tokens, n_firing, banded(pool))


def _itself(shown: TokenActivation) -> TokenActivation:
    return shown
