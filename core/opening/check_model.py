"""Checks that a model does here what it does in Hugging Face, on prompts of the task that is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import BATCH_PROMPTS
from circuit_tui.core.models.check_pass import check_pass, replayable
from circuit_tui.core.models.hf_reference import check_vocabulary, load_passes
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.shared_prefixes import shares_prefixes, verify_sharing
from circuit_tui.core.runtime.out_of_memory import free_cached, is_out_of_memory
from circuit_tui.core.tasks.task import Split
from circuit_tui.core.tasks.tokens import PromptSet, TokenizedPrompts

SHARED_ROWS = 32
"""How many rows are compared in one batch of a model that runs alike beginnings once."""


def reference_prompts(prompt_sets: Mapping[Split, PromptSet]) -> list[Tensor]:
    """Returns the tokens `[position]` of a shortest and a longest row of all prompts; one if all are equally long."""
    sides = [side for prompts in prompt_sets.values() for side in (prompts.clean, prompts.corrupt)]
    rows = [(int(length), side.tokens[row]) for side in sides for row, length in enumerate(side.lengths.tolist())]
    shortest, longest = min(rows, key=lambda row: row[0]), max(rows, key=lambda row: row[0])
    chosen = [shortest] if shortest[0] == longest[0] else [shortest, longest]
    return [tokens[:length].cpu() for length, tokens in chosen]


def check_tokens(model: LanguageModel, prompt_sets: Mapping[Split, PromptSet], task: str) -> None:
    """Checks every token of the task named `task` against the model's embedding and context.

    Raises:
        UserError: a token has no row in the embedding, or a prompt is longer than the model reads.
    """
    sides = [side for prompts in prompt_sets.values() for side in (prompts.clean, prompts.corrupt)]
    check_vocabulary(model.name, model.n_embeddings, [side.tokens for side in sides])
    limit = model.context_length
    for split, prompts in prompt_sets.items():
        for name in ("clean", "corrupt"):
            side: TokenizedPrompts = getattr(prompts, name)
            row = int(side.lengths.argmax())
            if limit is not None and int(side.lengths[row]) > limit:
                pair = prompts.pair_of_row(row)
                raise UserError(
                    f"{pair.place(task)}: the {name} {split} prompt {getattr(pair, name)[:60]!r}… has "
                    f"{int(side.lengths[row])} tokens, but the model {model.name} reads at most {limit}"
                )


def is_checked(model: LanguageModel, prompt_sets: Mapping[Split, PromptSet]) -> bool:
    """Returns whether `model` was compared with Hugging Face's own on prompts as short and as long as all of these."""
    return _covered([len(one) for one in reference_prompts(prompt_sets)], [len(one.tokens) for one in model.passes])


def check_model(model: LanguageModel, prompt_sets: Mapping[Split, PromptSet], batch: int | None) -> None:
    """Turns on the fast paths of `model`, then compares its passes with Hugging Face's own (`check_pass`).

    `batch` is the largest number of prompts in a pass, None for all. If the prompts have other lengths than those with
    which the model was loaded, Hugging Face's passes are recorded anew.

    Raises:
        UserError: the passes differ, or the model's blocks cannot be replayed.
    """
    tokens = prompt_sets["test"].clean
    with replayable(model):
        model.verify(tokens.tokens[:2], tokens.last[:2])
        try:
            verify_sharing(model, tokens.tokens[:2])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            free_cached()  # no room to try it: alike beginnings are not shared
    passes = model.passes
    if model.folder is not None and not is_checked(model, prompt_sets):
        wanted = reference_prompts(prompt_sets)
        passes = load_passes(model.name, model.folder, model.dtype, model.device, wanted)
    rows_per_prompt = prompt_sets["test"].answers.rows_per_prompt
    most = max(len(prompts) for prompts in prompt_sets.values()) * rows_per_prompt
    # Where beginnings are shared no evaluation runs so many whole rows, and these are seconds of a large model.
    rows = SHARED_ROWS if shares_prefixes(model) else BATCH_PROMPTS
    size = min(most, rows, (batch or most) * rows_per_prompt)
    while True:
        try:
            check_pass(model, passes, size)
            return
        except (RuntimeError, MemoryError) as error:
            if size <= 1 or not is_out_of_memory(error):
                raise
        # Evaluations will be halved as well, and say so.
        free_cached()
        size //= 2


def _covered(lengths: Sequence[int], known: Sequence[int]) -> bool:
    """Returns whether passes over prompts of `known` lengths are enough for `lengths`, which must lie between them."""
    return bool(known) and min(known) <= min(lengths) and max(lengths) <= max(known)
