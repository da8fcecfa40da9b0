"""Turns the text of a task into token tensors for one tokenizer.

Every prompt starts with the tokenizer's BOS where it has one (`bos_token_id is not None`; an id of 0 is a BOS too) and
is right-padded, whatever side the tokenizer would pad. In a chat the template decides about BOS, and the answer
follows it without a space. Where an answer of the task is several tokens, every prompt has two rows: it with all but
the last token of the right answer behind it, and with those of the wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.answers import Answers, Tokens, rows_per_prompt_of
from circuit_tui.core.tasks.chat import AFTER, BEFORE, RenderedPrompt, plain, render
from circuit_tui.core.tasks.continuation import continuation
from circuit_tui.core.tasks.task import SPLITS, Pair, Split, Task


@dataclass(frozen=True, slots=True)
class TokenizedPrompts:
    """The clean or the corrupt prompts of a split, one row for each or two (see `answers.py`).

    Attributes:
        tokens: `[row, position]` int64, right-padded with 0.
        lengths: `[row]` int64, real tokens including BOS.
        n_bos: 1 where position 0 is BOS, else 0.
        roles: for each row the role of each of the prompt's tokens after BOS, or empty tuples.
        said: `[row]` int64, how many of the last tokens are the answer's.
    """

    tokens: Tensor
    lengths: Tensor
    n_bos: int
    roles: tuple[tuple[str, ...], ...]
    n_answer_tokens: Tensor

    @property
    def last(self) -> Tensor:
        """Index of the last real token, `[row]`."""
        return self.lengths - 1

    @property
    def prompt_lengths(self) -> Tensor:
        """Real tokens of the prompt alone, including BOS, `[row]`."""
        return self.lengths - self.n_answer_tokens


@dataclass(frozen=True, slots=True)
class PromptSet:
    """One split, tokenised. The corrupt prompts are followed by the answers to the clean ones."""

    pairs: tuple[Pair, ...]
    clean: TokenizedPrompts
    corrupt: TokenizedPrompts
    answers: Answers

    def __len__(self) -> int:
        return len(self.pairs)


def tokenize(task: Task, tokenizer: Any, device: torch.device, chat: bool = False) -> dict[Split, PromptSet]:
    """The splits of `task` that have prompts, tokenised; with `chat` each as a user's message.

    Raises:
        UserError: no train or no test prompts, a word that the model does not know, an answer that is the same as the
            other or begins it, roles that do not match the words of a prompt, or no chat template.
    """
    for needed in ("train", "test"):
        if not task.split(needed):
            raise UserError(f"task {task.name}: it has no {needed} prompts; both train and test are needed")
    answers = {
        split: [answer_tokens(pair, tokenizer, task.name, chat) for pair in task.split(split)] for split in SPLITS
    }
    texts = rows_per_prompt_of(pair for pairs in answers.values() for pair in pairs)
    return {
        split: _prompt_set(task, split, pairs, texts, tokenizer, device, chat)
        for split, pairs in answers.items()
        if pairs
    }


def _prompt_set(
    task: Task, split: Split, answers: list[Tokens], texts: int, tokenizer: Any, device: torch.device, chat: bool
) -> PromptSet:
    def shown(prompt: str) -> RenderedPrompt:
        return render(prompt, tokenizer, task.name) if chat else plain(prompt)

    def side(prompts: Sequence[str]) -> TokenizedPrompts:
        rows = [(shown(prompt), pair.roles) for prompt, pair in zip(prompts, pairs, strict=True)]
        return _side(task.name, rows, n_answer_tokens, tokenizer, device)

    pairs = task.split(split)
    n_answer_tokens = [tuple(answer[:-1] for answer in pair) if texts > 1 else ((),) for pair in answers]
    clean, corrupt = side([pair.clean for pair in pairs]), side([pair.corrupt for pair in pairs])
    lengths = clean.prompt_lengths[::texts].tolist()
    return PromptSet(pairs, clean, corrupt, Answers.from_tokens(answers, lengths, texts, device))


def answer_tokens(pair: Pair, tokenizer: Any, task: str, chat: bool = False) -> Tokens:
    """The right and the wrong answer's tokens behind the clean prompt.

    Raises:
        UserError: one of them has no tokens, or some that the model does not know; both are the same, or one begins
            the other.
    """
    head = (render(pair.clean, tokenizer, task) if chat else plain(pair.clean)).text
    answer, other = (text.lstrip() if chat else text for text in (pair.answer, pair.wrong))
    right = _given_or_found(tokenizer, head, answer, pair.answer_id, task, "answer")
    wrong = _given_or_found(tokenizer, head, other, pair.wrong_id, task, "wrong")
    if right == wrong:
        raise UserError(
            f"task {task}: answer {pair.answer!r} and wrong {pair.wrong!r} are the same tokens after {pair.clean!r}"
        )
    shorter = min(len(right), len(wrong))
    if right[:shorter] == wrong[:shorter]:
        raise UserError(
            f"task {task}: of answer {pair.answer!r} and wrong {pair.wrong!r} after {pair.clean!r} one is the "
            "beginning of the other, so that the longer can never be the likelier; let them differ before one ends"
        )
    return right, wrong


def _given_or_found(
    tokenizer: Any, prompt: str, answer: str, given: int | tuple[int, ...] | None, task: str, field: str
) -> tuple[int, ...]:
    if given is None:
        return _found(tokenizer, prompt, answer, task, field)
    tokens = (given,) if isinstance(given, int) else given
    for token in tokens:
        if not 0 <= token < len(tokenizer):
            raise UserError(
                f"task {task}: field '{field}_id' {token} is out of range: the vocabulary has {len(tokenizer)} tokens"
            )
    return tokens


def _found(tokenizer: Any, prompt: str, answer: str, task: str, field: str) -> tuple[int, ...]:
    """The tokens that `answer` is when it follows `prompt`."""
    tail = continuation(tokenizer, prompt, answer)
    if tail is None:
        raise UserError(
            f"task {task}: field {field!r} {answer!r} after {prompt!r} grows together with the prompt's last token for "
            f"this model; give its tokens as '{field}_id'"
        )
    if not tail:
        raise UserError(f"task {task}: field {field!r} {answer!r} after {prompt!r} has no tokens for this model")
    if _unknown(tokenizer) in tail:
        raise UserError(f"task {task}: field {field!r} {answer!r} is not in the model's vocabulary")
    return tuple(int(token) for token in tail)


def _unknown(tokenizer: Any) -> int | None:
    """The token that stands for what the vocabulary lacks; None where there is none, or where BOS doubles as it."""
    unknown: int | None = tokenizer.unk_token_id
    return None if unknown == tokenizer.bos_token_id else unknown


def _side(
    task: str,
    prompts: Sequence[tuple[RenderedPrompt, tuple[str, ...]]],
    n_answer_tokens: Sequence[tuple[tuple[int, ...], ...]],
    tokenizer: Any,
    device: torch.device,
) -> TokenizedPrompts:
    """`n_answer_tokens` are the tokens behind each prompt, once for each of its rows."""
    rows, roles, n_bos = [], [], 0
    # All at once: a call takes far longer than what it does for one prompt.
    named = any(words for _, words in prompts)
    every = tokenizer([shown.text for shown, _ in prompts], add_special_tokens=False, return_offsets_mapping=named)
    places: Sequence[Sequence[tuple[int, int]]] = every["offset_mapping"] if named else [()] * len(prompts)
    for (shown, words), texts, own_ids, own_places in zip(
        prompts, n_answer_tokens, every["input_ids"], places, strict=True
    ):
        ids, offsets = list(own_ids), list(own_places)
        if not ids:
            raise UserError(f"task {task}: the prompt {shown.text!r} has no tokens")
        if _unknown(tokenizer) in ids:
            own = shown.text[shown.start : shown.stop]
            unknown = [word for word in own.split() if _unknown(tokenizer) in tokenizer.encode(word)]
            raise UserError(
                f"task {task}: the prompt {own!r} has words that are not in the model's vocabulary: "
                f"{', '.join(unknown)}"
            )
        bos = _bos(tokenizer, shown, ids)
        if bos and ids[0] == bos[0]:  # the template has put it there
            ids, offsets = ids[1:], offsets[1:]
        n_bos = len(bos)
        rows += [[*bos, *ids, *text] for text in texts]
        roles += [_token_roles(task, shown, words, offsets) if words else ()] * len(texts)
    tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row)
    lengths = torch.tensor([len(row) for row in rows])
    behind = torch.tensor([len(text) for texts in n_answer_tokens for text in texts])
    return TokenizedPrompts(tokens.to(device), lengths.to(device), n_bos, tuple(roles), behind.to(device))


def _bos(tokenizer: Any, shown: RenderedPrompt, ids: Sequence[int]) -> list[int]:
    """The BOS that a prompt starts with, if it does: the tokenizer's, or in a chat what the template begins with."""
    if tokenizer.bos_token_id is None:
        return []
    bos = int(tokenizer.bos_token_id)
    templated = len(shown.text) > shown.stop - shown.start
    return [] if templated and ids[0] != bos else [bos]


def _token_roles(
    task: str, shown: RenderedPrompt, words: tuple[str, ...], offsets: Sequence[tuple[int, int]]
) -> tuple[str, ...]:
    """The role of each token: that of the word which holds its first character that is not a space.

    What a chat template adds in front of the prompt and behind it has roles of its own.
    """
    text = shown.text[: shown.stop]
    spans = [match.span() for match in re.compile(r"\S+").finditer(text, shown.start)]
    if len(spans) != len(words):
        own = text[shown.start :]
        raise UserError(f"task {task}: field 'roles' has {len(words)} names for the {len(spans)} words of {own!r}")
    named, word = [], 0
    for start, end in offsets:
        # A token that is only a space belongs to the word it leads to.
        first = next((at for at in range(start, end) if not shown.text[at].isspace()), end)
        if first < shown.start:
            named.append(BEFORE)
            continue
        if start >= shown.stop:
            named.append(AFTER)
            continue
        while word + 1 < len(spans) and first >= spans[word][1]:
            word += 1
        named.append(words[word])
    return tuple(named)
