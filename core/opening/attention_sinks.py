"""Tokens at which a model parks attention: their residuals are many times as long as those of other tokens.

Such tokens are called attention sinks, their residuals massive activations (Sun et al. 2024, "Massive Activations in
Large Language Models"). Hundreds of latents may fire there, and a mean or threshold over them and other tokens says
little about either. BOS, the commonest one, is never spliced and counts nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.splice.problem import Problem

RATIO = 5.0
"""From how many times the median length on a residual counts as that of a sink."""


@dataclass(frozen=True, slots=True)
class AttentionSink:
    """A token of the clean train prompts at one site: the position where it stands, and the text of the token.

    `ratio` is the length of its longest residual over the site's median; `share` how many of its tokens are sinks.
    """

    site: int
    position: str
    token: str
    ratio: float
    share: float


@torch.no_grad()
def usual_length(problem: Problem, site: int) -> float:
    """Returns the median length of what the SAE of `site` reads under M_s, over spliced tokens of train prompts."""
    inside = problem.alignment.ids["train", "clean"] >= 0
    return float(problem.spliced_sae_inputs[site].float().norm(dim=-1)[inside].median())


def sink_length(problem: Problem, site: int) -> float:
    """Returns the length from which on what the SAE of `site` reads is that of an attention sink."""
    return RATIO * usual_length(problem, site)


def sink_columns(problem: Problem, site: int, x: Tensor, ids: Tensor) -> list[int]:
    """Returns the columns of one row that are attention sinks at `site`, ascending.

    `x` `[position, d_in]` is what its SAE reads there, `ids` `[position]` are the position ids.
    """
    long = x.float().norm(dim=-1) >= sink_length(problem, site)
    columns: list[int] = (long & (ids >= 0)).nonzero()[:, 0].tolist()
    return columns


@torch.no_grad()
def attention_sinks(problem: Problem) -> tuple[AttentionSink, ...]:
    """Returns the tokens whose input at a site, under M_s, is `RATIO` times as long as the median there."""
    side, ids = problem.prompt_sets["train"].clean, problem.alignment.ids["train", "clean"]
    inside = ids >= 0
    found = []
    for site, inputs in enumerate(problem.spliced_sae_inputs):
        ratios = inputs.float().norm(dim=-1)[inside] / usual_length(problem, site)
        where = torch.stack([ids[inside], side.tokens[inside]], dim=1)
        for position, token in where[ratios >= RATIO].unique(dim=0).tolist():
            own = ratios[(where[:, 0] == position) & (where[:, 1] == token)]
            text = str(problem.model.tokenizer.decode([token])).strip()
            name, share = problem.alignment.names[position], float((own >= RATIO).float().mean())
            found.append(AttentionSink(site, name, text, float(own.max()), share))
    return tuple(found)


def sink_warnings(problem: Problem) -> tuple[str, ...]:
    """Returns a sentence for each site with attention sinks."""
    sinks = attention_sinks(problem)
    said = []
    for site in sorted({sink.site for sink in sinks}):
        own = [sink for sink in sinks if sink.site == site]
        tokens = ", ".join(dict.fromkeys(f"{sink.token!r} at {sink.position}" for sink in own[:4]))
        more = f" and {len(own) - 4} more" if len(own) > 4 else ""
        longest = max(sink.ratio for sink in own)
        said.append(
            f"At {problem.sites[site].short} some tokens have residuals up to {longest:.0f} times as long as usual "
            f"({tokens}{more}): attention sinks, over which means and thresholds mislead."
        )
    return tuple(said)
