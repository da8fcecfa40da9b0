"""The right and the wrong answer of each prompt: where they are read, and how they are scored.

An answer of several tokens a_1 .. a_n is scored by the probability that the model gives it as a whole, each token after
the right ones before it (teacher forcing),

    log P(a) = sum over k of log p(a_k | prompt, a_1 .. a_(k-1)),     logit difference = log P(right) - log P(wrong)

For single tokens that is the plain logit difference, exactly: both are read at one place, where the log-softmax
cancels. It cancels wherever the two answers still agree, so they are told apart at their *contest*, the first token in
which they differ; what follows it enters with its log-probability.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Tokens = tuple[tuple[int, ...], tuple[int, ...]]
"""A right and a wrong answer."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of some prompts.

    Each prompt has `rows_per_prompt` rows of tokens. One if all answers of the task are single tokens; else two: the prompt with
    all but the last token of the right answer behind it, and with those of the wrong one. A *read* is a place in a row
    where the next token's distribution is needed: first the contest of every prompt, then all `more` of them.

    Attributes:
        texts: rows of each prompt, 1 or 2.
        difference_column: `[prompt]` token index of the contest, in the prompt's first row.
        right, wrong: `[prompt]` the two tokens of the contest.
        owner, text, place, token: `[more]` prompt, row of that prompt (0 or 1), token index and answer token of every
            other read.
        other_signs: `[more]` float32, 1 where the token is one of the right answer, -1 of the wrong, 0 of both.
    """

    rows_per_prompt: int
    difference_column: Tensor
    right: Tensor
    wrong: Tensor
    other_prompts: Tensor
    other_rows: Tensor
    other_columns: Tensor
    other_tokens: Tensor
    other_signs: Tensor

    def __len__(self) -> int:
        return len(self.right)

    @classmethod
    def from_tokens(
        cls, pairs: Sequence[Tokens], lengths: Sequence[int], rows_per_prompt: int, device: torch.device
    ) -> Answers:
        """The answers `pairs` to prompts of `lengths` tokens. Of no pair may one begin the other."""
        first_difference, more = [], []
        for prompt, ((right, wrong), length) in enumerate(zip(pairs, lengths, strict=True)):
            differ = next(k for k, (one, other) in enumerate(zip(right, wrong, strict=False)) if one != other)
            first_difference.append((length - 1 + differ, right[differ], wrong[differ]))
            more += [(prompt, 0, length - 1 + k, right[k], 0) for k in range(differ)]
            for text, answer, sign in ((0, right, 1), (1, wrong, -1)):
                more += [(prompt, text, length - 1 + k, answer[k], sign) for k in range(differ + 1, len(answer))]
        at, ours, theirs = torch.tensor(first_difference, device=device).unbind(1)
        owners, rows, places, tokens, signs = torch.tensor(more, device=device).reshape(-1, 5).long().unbind(1)
        return cls(rows_per_prompt, at, ours, theirs, owners, rows, places, tokens, signs.float())

    @property
    def read_rows(self) -> Tensor:
        """The row of each read, `[read]`."""
        first = torch.arange(len(self), device=self.difference_column.device) * self.rows_per_prompt
        return torch.cat([first, self.other_prompts * self.rows_per_prompt + self.other_rows])

    @property
    def read_columns(self) -> Tensor:
        """The token index of each read in its row, `[read]`."""
        return torch.cat([self.difference_column, self.other_columns])

    def rows_of(self, prompts: Tensor) -> Tensor:
        """The rows of the prompts `prompts` `[prompt]`, in their order, `[row]`."""
        every = prompts.unsqueeze(1) * self.rows_per_prompt + torch.arange(self.rows_per_prompt, device=prompts.device)
        return every.flatten()

    def select(self, prompts: Tensor) -> tuple[Answers, Tensor]:
        """The answers of `prompts` `[prompt]` alone, numbered from 0, and which reads of these they have, `[read]`."""
        new, which = (prompts.unsqueeze(1) == self.other_prompts).nonzero(as_tuple=True)
        return (
            Answers(
                self.rows_per_prompt, self.difference_column[prompts], self.right[prompts], self.wrong[prompts],
                new, self.other_rows[which], self.other_columns[which], self.other_tokens[which], self.other_signs[which],
            ),
            torch.cat([prompts, which + len(self)]),
        )  # fmt: skip

    def swapped(self, prompts: Tensor) -> Answers:
        """The right answer taken for the wrong one, and the other way round, on `prompts`."""
        right, wrong = self.right.clone(), self.wrong.clone()
        right[prompts], wrong[prompts] = self.wrong[prompts], self.right[prompts]
        changed = torch.isin(self.other_prompts, prompts)
        return replace(
            self, right=right, wrong=wrong, other_signs=torch.where(changed, -self.other_signs, self.other_signs)
        )

    def logit_difference(self, logits: Tensor) -> Tensor:
        """Gives log P(right) - log P(wrong), `[prompt]`, of logits `[read, vocab]`; see the module's docstring."""
        rows = torch.arange(len(self), device=logits.device)
        found = logits[rows, self.right] - logits[rows, self.wrong]
        return found if not len(self.other_prompts) else found + self.after_first_difference(logits)

    def after_first_difference(self, logits: Tensor) -> Tensor:
        """What the tokens behind the contest add to the logit difference, `[prompt]`."""
        later = logits[len(self) :]
        scores = later.gather(1, self.other_tokens.unsqueeze(1))[:, 0] - later.logsumexp(-1)
        return logits.new_zeros(len(self)).index_add(0, self.other_prompts, self.other_signs * scores)

    def sum_over_right(self, values: Tensor) -> Tensor:
        """Sum `[prompt]` of `values` `[read]` over the reads of each right answer."""
        if not len(self.other_prompts):
            return values
        right = self.other_signs >= 0
        return values[: len(self)].index_add(0, self.other_prompts[right], values[len(self) :][right])

    def scored_tokens(self) -> Tensor:
        """The answer token of each read, `[read]`; at the contest that of the right answer."""
        return torch.cat([self.right, self.other_tokens])


def rows_per_prompt_of(pairs: Iterable[Tokens]) -> int:
    """How many rows of tokens each prompt needs for its answers `pairs`."""
    return 2 if any(len(answer) > 1 for pair in pairs for answer in pair) else 1
