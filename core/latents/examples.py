"""Examples of a latent: the texts on which it fires most, then some from each band of its range of activation.

The most active examples alone make a latent look purer than it is. So, as sae_vis does it (McDougall 2024, "sequence
groups"), the range from 0 to the largest activation is cut into bands of equal width, and each band is shown by a few
of its texts, with how many it has. A text is shown once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from circuit_tui.core.latents.clean_against_corrupt import MAX_ACTIVATIONS, latent_activations
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.token_text import token_texts
from circuit_tui.core.tasks.tokens import TokenizedPrompts
from circuit_tui.core.views import ActivationBand, PromptSide, TokenActivation

N_BANDS = 4
IN_BAND = 3
"""Texts that a band shows at most."""
MOST_TOP = 10
"""Texts of the first band, which has the largest activations."""


@dataclass(frozen=True, slots=True)
class Found:
    """A text on which a latent fires: what makes it the same text as another, its largest activation, how it is shown.

    Only texts that are shown are made.
    """

    text: Hashable
    peak: float
    show: Callable[[], TokenActivation]


def banded(pool: Iterable[Found], top: int = MOST_TOP) -> tuple[ActivationBand, ...]:
    """Returns the bands of a latent's examples, the `top` most active texts first; empty if it fires on none.

    Bands below the top one have (low, high] and descend; each shows at most `IN_BAND` texts, evenly over its ranks, and
    none that the top one shows. A band without a text left is left out.
    """
    ordered = sorted(_unique(pool), key=lambda text: -text.peak)
    if not ordered:
        return ()
    peak, shown = ordered[0].peak, ordered[:top]
    bands = [ActivationBand(shown[-1].peak, peak, len(shown), tuple(text.show() for text in shown))]
    for number in reversed(range(N_BANDS)):
        low, high = peak * number / N_BANDS, peak * (number + 1) / N_BANDS
        inside = [text for text in ordered if low < text.peak <= high]
        left = inside[max(0, top - sum(text.peak > high for text in ordered)) :]
        if left:
            bands.append(ActivationBand(low, high, len(inside), tuple(text.show() for text in _spread(left, IN_BAND))))
    return tuple(bands)


def prompt_examples(
    problem: Problem, site: int, latent: int, sink_length: float, logit_diff: Tensor | None = None
) -> list[Found]:
    """Returns the train prompts, clean and corrupt, on which a latent fires under M_s.

    Tokens whose input to the SAE is at least `sink_length` long are attention sinks. `logit_diff` `[prompt]` is that of
    the circuit on the clean prompts, which says whether it answers them right.
    """
    prompts = problem.prompt_sets["train"]
    rows_per_prompt, found = prompts.answers.rows_per_prompt, list[Found]()
    sides: tuple[tuple[PromptSide, Tensor], ...] = (
        ("clean", problem.spliced_sae_inputs[site]), ("corrupt", problem.spliced_corrupt_sae_inputs[site]),
    )  # fmt: skip
    for name, inputs in sides:
        side, inside = prompts.clean if name == "clean" else prompts.corrupt, problem.alignment.ids["train", name] >= 0
        activations = side_activations(problem, site, latent, inputs) * inside

        def shown(
            index: int, prompt: int, name: PromptSide, activations: Tensor, side: TokenizedPrompts, long: Tensor
        ) -> TokenActivation:
            span = slice(side.n_bos, int(side.lengths[index]))
            return TokenActivation(
                tokens=token_texts(problem.model.tokenizer, side.tokens[index, span].tolist()),
                activations=tuple(activations[index, span].tolist()),
                peak=float(activations[index].max()),
                sinks=tuple(long[index, span].nonzero()[:, 0].tolist()),
                side=name,
                right=None if logit_diff is None or name == "corrupt" else bool(logit_diff[prompt] > 0),
            )

        long = (inputs.float().norm(dim=-1) >= sink_length) & inside
        # Each prompt is shown by the row on which the latent fires most.
        peaks, row = activations.amax(1).reshape(len(prompts), -1).max(1)
        tokens, lengths, best = side.tokens.tolist(), side.lengths.tolist(), row.tolist()
        for prompt, peak in enumerate(peaks.tolist()):
            index = prompt * rows_per_prompt + best[prompt]
            text = tuple(tokens[index][side.n_bos : lengths[index]])
            found.append(Found(text, peak, partial(shown, index, prompt, name, activations, side, long)))
    return found


@torch.no_grad()
def side_activations(problem: Problem, site: int, latent: int, inputs: Tensor) -> Tensor:
    """Returns a latent's activations `[row, position]` on SAE inputs `[row, position, d_in]`."""
    sae, one = problem.sites[site].sae, torch.tensor([latent])
    per_row = inputs.shape[1] * (1 if sae.elementwise else sae.d_sae)
    parts = inputs.split(max(1, MAX_ACTIVATIONS // max(1, per_row)))
    return torch.cat([latent_activations(problem, site, one, rows.float())[..., 0] for rows in parts])


def _unique(pool: Iterable[Found]) -> list[Found]:
    """Each text that fires, once: a task may pair one clean prompt with several corrupt ones, or with its twin's."""
    seen: dict[Hashable, Found] = {}
    for text in pool:
        before = seen.get(text.text)
        if text.peak > 0 and (before is None or before.peak < text.peak):
            seen[text.text] = text
    return list(seen.values())


def _spread(texts: Sequence[Found], count: int) -> list[Found]:
    """`count` of `texts`, from the first to the last at equal distances in rank; all if there are fewer."""
    if len(texts) <= count:
        return list(texts)
    return [texts[round(number * (len(texts) - 1) / (count - 1))] for number in range(count)]
