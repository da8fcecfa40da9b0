"""One prompt of a problem on its own, clean or corrupt: where contributions of nodes are computed."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from circuit_tui.core.splice.problem import Problem, with_test_prompts
from circuit_tui.core.tasks.answers import Answers
from circuit_tui.core.tasks.task import Split
from circuit_tui.core.tasks.tokens import PromptSet, TokenizedPrompts


@torch.no_grad()
def corrupt_problem(problem: Problem, split: Split, prompt: int, seed: int) -> Problem:
    """Returns `problem` with the corrupt prompt of pair number `prompt` of `split` as its only test prompt.

    Its answers are those to the clean prompt, and ablated nodes take the references of their positions. `seed` is of
    the draw of ``resample``.

    Raises:
        UserError: ``resample`` has nothing to draw from for this prompt.
    """
    prompts = problem.prompt_sets[split]
    rows = prompts.answers.rows_of(torch.tensor([prompt], device=prompts.answers.right.device))
    corrupt = _rows_of(prompts.corrupt, rows.tolist())
    moved = int(corrupt.prompt_lengths[0]) - int(prompts.clean.prompt_lengths[rows[0]])
    own = PromptSet((prompts.pairs[prompt],), corrupt, corrupt, _moved(prompts.answers, prompt, moved))
    width, alignment = corrupt.tokens.shape[1], problem.alignment

    def with_own(whole: dict[tuple[Split, str], Tensor]) -> dict[tuple[Split, str], Tensor]:
        part, train = whole[split, "corrupt"][rows, :width], {key: whole[key] for key in whole if key[0] == "train"}
        return {**train, ("test", "clean"): part, ("test", "corrupt"): part}

    own_alignment = replace(alignment, ids=with_own(alignment.ids), mean_groups=with_own(alignment.mean_groups))
    return with_test_prompts(problem, own, own_alignment, seed)


def _rows_of(side: TokenizedPrompts, rows: list[int]) -> TokenizedPrompts:
    """Returns these rows of `side`, without the padding that only other rows need."""
    lengths = side.lengths[rows]
    width = int(lengths.max())
    roles = tuple(side.roles[row] for row in rows)
    return TokenizedPrompts(side.tokens[rows, :width], lengths, side.n_bos, roles, side.n_answer_tokens[rows])


def _moved(answers: Answers, prompt: int, by: int) -> Answers:
    """Returns the answers of one prompt, read `by` tokens later."""
    own, _ = answers.select(torch.tensor([prompt], device=answers.right.device))
    return replace(own, difference_column=own.difference_column + by, other_columns=own.other_columns + by)
