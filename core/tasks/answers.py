"""The right and the wrong answer of each prompt: where their logits are read, and how they are scored.

An answer of several tokens a_1 .. a_n is scored by the probability that the model gives it as a whole, each token after
the correct ones before it (teacher forcing),

    log P(a) = sum over k of log p(a_k | prompt, a_1 .. a_(k-1)),     logit difference = log P(right) - log P(wrong)

For single tokens that is exactly the plain logit difference: both are read at one place, where the log-softmax cancels.
It cancels as long as the two answers agree, so their difference is taken from the logits of the *first difference*, the
first token in which they differ; the tokens after it enter with their log-probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

AnswerTokens = tuple[tuple[int, ...], tuple[int, ...]]
"""The tokens of a right and of a wrong answer."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of some prompts.

    Each prompt has `rows_per_prompt` rows of tokens: one if all answers of the task are single tokens, else two, the
    prompt followed by all but the last token of the right answer, and by those of the wrong one. A *read* is a token
    index (column) of a row at which the distribution of the next token is needed: first those of each prompt's first
    difference, then all `other` reads.

    Attributes:
        rows_per_prompt: rows of each prompt, 1 or 2.
        difference_column: `[prompt]` column at which the first difference is read, in the prompt's first row.
        right, wrong: `[prompt]` the two tokens of the first difference.
        other_prompts, other_rows, other_columns, other_tokens: `[other]` prompt, row of that prompt (0 or 1), column
            and answer token of every other read.
        other_signs: `[other]` float32, 1 where the token is one of the right answer, -1 of the wrong, 0 of both.
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
        """Number of prompts."""
        return len(self.right)

    @classmethod
    def from_tokens(
        cls, pairs: Sequence[AnswerTokens], lengths: Sequence[int], rows_per_prompt: int, device: torch.device
    ) -> Answers:
        """The answers `pairs` to prompts of `lengths` tokens. In no pair may one answer begin with the other."""
        differences, others = [], []
        for prompt, ((right, wrong), length) in enumerate(zip(pairs, lengths, strict=True)):
            first = next(k for k, (one, other) in enumerate(zip(right, wrong, strict=False)) if one != other)
            differences.append((length - 1 + first, right[first], wrong[first]))
            others += [(prompt, 0, length - 1 + k, right[k], 0) for k in range(first)]
            for row, answer, sign in ((0, right, 1), (1, wrong, -1)):
                others += [(prompt, row, length - 1 + k, answer[k], sign) for k in range(first + 1, len(answer))]
        columns, rights, wrongs = torch.tensor(differences, device=device).unbind(1)
        prompts, rows, other_columns, tokens, signs = (
            torch.tensor(others, device=device).reshape(-1, 5).long().unbind(1)
        )
        return cls(rows_per_prompt, columns, rights, wrongs, prompts, rows, other_columns, tokens, signs.float())

    @property
    def read_rows(self) -> Tensor:
        """The row of each read, `[read]`."""
        first = torch.arange(len(self), device=self.right.device) * self.rows_per_prompt
        return torch.cat([first, self.other_prompts * self.rows_per_prompt + self.other_rows])

    @property
    def read_columns(self) -> Tensor:
        """The column of each read in its row, `[read]`."""
        return torch.cat([self.difference_column, self.other_columns])

    def rows_of(self, prompts: Tensor) -> Tensor:
        """The rows of the prompts `prompts` `[prompt]`, in their order, `[row]`."""
        rows = torch.arange(self.rows_per_prompt, device=prompts.device)
        return (prompts.unsqueeze(1) * self.rows_per_prompt + rows).flatten()

    def select(self, prompts: Tensor) -> tuple[Answers, Tensor]:
        """The answers of `prompts` `[prompt]`, renumbered from 0, and the index of each of their reads, `[read]`."""
        new, other = (prompts.unsqueeze(1) == self.other_prompts).nonzero(as_tuple=True)
        return self._selected(prompts, new, other)

    def evened(self, width: int) -> Answers:
        """The same answers with as many other reads for each prompt, prompt by prompt, in rows of `width` tokens.

        What fills up has sign 0 and counts for nothing. It reads where no answer is read: a token that is read twice
        would get its gradient twice.
        """
        others: list[list[tuple[int, int, int, float]]] = [[] for _ in range(len(self))]
        columns = (self.other_prompts, self.other_rows, self.other_columns, self.other_tokens, self.other_signs)
        for prompt, row, column, token, sign in zip(*(each.tolist() for each in columns), strict=True):
            others[prompt].append((row, column, token, sign))
        most = max(len(reads) for reads in others)
        for reads, column in zip(others, self.difference_column.tolist(), strict=True):
            taken = {(0, column), *(read[:2] for read in reads)}
            free = (place for place in product(range(self.rows_per_prompt), range(width)) if place not in taken)
            reads += [(*next(free), 0, 0.0) for _ in range(most - len(reads))]
        device = self.right.device
        rows, read_columns, tokens, signs = torch.tensor(others, dtype=torch.float64).reshape(-1, 4).unbind(1)
        return replace(
            self,
            other_prompts=torch.arange(len(self), device=device).repeat_interleave(most),
            other_rows=rows.long().to(device),
            other_columns=read_columns.long().to(device),
            other_tokens=tokens.long().to(device),
            other_signs=signs.float().to(device),
        )

    def select_evenly(self, prompts: Tensor) -> tuple[Answers, Tensor]:
        """Like `select`, of `evened` answers: nothing depends on what the device has to say."""
        n_others = len(self.other_prompts) // max(1, len(self))
        device = prompts.device
        new = torch.arange(len(prompts), device=device).repeat_interleave(n_others)
        other = (prompts.unsqueeze(1) * n_others + torch.arange(n_others, device=device)).reshape(-1)
        return self._selected(prompts, new, other)

    def _selected(self, prompts: Tensor, new: Tensor, other: Tensor) -> tuple[Answers, Tensor]:
        """What `select` returns, of the other reads `other` `[read]`, which belong to the renumbered prompts `new`."""
        return (
            Answers(
                self.rows_per_prompt, self.difference_column[prompts], self.right[prompts], self.wrong[prompts],
                new, self.other_rows[other], self.other_columns[other], self.other_tokens[other],
                self.other_signs[other],
            ),
            torch.cat([prompts, other + len(self)]),
        )  # fmt: skip

    def swapped(self, prompts: Tensor) -> Answers:
        """The same with right and wrong answer exchanged on `prompts` `[prompt]`."""
        right, wrong = self.right.clone(), self.wrong.clone()
        right[prompts], wrong[prompts] = self.wrong[prompts], self.right[prompts]
        signs = torch.where(torch.isin(self.other_prompts, prompts), -self.other_signs, self.other_signs)
        return replace(self, right=right, wrong=wrong, other_signs=signs)

    def logit_difference(self, logits: Tensor) -> Tensor:
        """Returns log P(right) - log P(wrong), `[prompt]`, of logits `[read, vocab]`: the module's formula."""
        rows = torch.arange(len(self), device=logits.device)
        difference = logits[rows, self.right] - logits[rows, self.wrong]
        return difference if not len(self.other_prompts) else difference + self.after_first_difference(logits)

    def after_first_difference(self, logits: Tensor) -> Tensor:
        """What the tokens after the first difference add to the logit difference, `[prompt]`."""
        others = logits[len(self) :]
        scores = others.gather(1, self.other_tokens.unsqueeze(1))[:, 0] - others.logsumexp(-1)
        return logits.new_zeros(len(self)).index_add(0, self.other_prompts, self.other_signs * scores)

    def sum_over_right(self, values: Tensor) -> Tensor:
        """Sum `[prompt]` of `values` `[read]` over the reads of each right answer."""
        if not len(self.other_prompts):
            return values
        others = torch.where(self.other_signs >= 0, values[len(self) :], 0.0)
        return values[: len(self)].index_add(0, self.other_prompts, others)

    def scored_tokens(self) -> Tensor:
        """The answer token of each read, `[read]`; at the first difference that of the right answer."""
        return torch.cat([self.right, self.other_tokens])


def rows_per_prompt_of(pairs: Iterable[AnswerTokens]) -> int:
    """How many rows of tokens each prompt needs for its answers `pairs`."""
    return 2 if any(len(answer) > 1 for pair in pairs for answer in pair) else 1
