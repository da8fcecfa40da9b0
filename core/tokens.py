"""Turns the text of a task into token tensors for one tokenizer.

Every prompt starts with the tokenizer's BOS where it has one (`bos_token_id is not None`; an id of 0 is a BOS too) and
is right-padded, whatever side the tokenizer would pad. The answer is read at the last real token. In a chat the
template decides about BOS, and the answer follows it without a space.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.chat import AFTER, BEFORE, Rendered, plain, render
from circuit_tui.core.errors import UserError
from circuit_tui.core.task import SPLITS, Pair, Split, Task


@dataclass(frozen=True, slots=True)
class Side:
    """The clean or the corrupt prompts of a split.

    Attributes:
        tokens: `[prompt, position]` int64, right-padded with 0.
        lengths: `[prompt]` int64, real tokens including BOS.
        n_bos: 1 where position 0 is BOS, else 0.
        roles: for each prompt the role of each real token after BOS, or empty tuples.
    """

    tokens: Tensor
    lengths: Tensor
    n_bos: int
    roles: tuple[tuple[str, ...], ...]

    @property
    def answer(self) -> Tensor:
        """Index of the last real token, `[prompt]`."""
        return self.lengths - 1


@dataclass(frozen=True, slots=True)
class PromptSet:
    """One split, tokenised. `right` and `wrong` are the answer tokens, `[prompt]` int64."""

    pairs: tuple[Pair, ...]
    clean: Side
    corrupt: Side
    right: Tensor
    wrong: Tensor

    def __len__(self) -> int:
        return len(self.pairs)


def tokenize(task: Task, tokenizer: Any, device: torch.device, chat: bool = False) -> dict[Split, PromptSet]:
    """The splits of `task` that have prompts, tokenised; with `chat` each as a user's message.

    Raises:
        UserError: no train or no test prompts, a word that the model does not know, an answer of several tokens, the
            same token for both answers, roles that do not match the words of a prompt, or no chat template.
    """
    for needed in ("train", "test"):
        if not task.split(needed):
            raise UserError(f"task {task.name}: it has no {needed} prompts; both train and test are needed")
    return {split: _prompt_set(task, split, tokenizer, device, chat) for split in SPLITS if task.split(split)}


def _prompt_set(task: Task, split: Split, tokenizer: Any, device: torch.device, chat: bool) -> PromptSet:
    def shown(prompt: str) -> Rendered:
        return render(prompt, tokenizer, task.name) if chat else plain(prompt)

    pairs = task.split(split)
    answers = [answer_tokens(pair, tokenizer, task.name, chat) for pair in pairs]
    return PromptSet(
        pairs=pairs,
        clean=_side(task.name, [(shown(pair.clean), pair.roles) for pair in pairs], tokenizer, device),
        corrupt=_side(task.name, [(shown(pair.corrupt), pair.roles) for pair in pairs], tokenizer, device),
        right=torch.tensor([right for right, _ in answers], device=device),
        wrong=torch.tensor([wrong for _, wrong in answers], device=device),
    )


def answer_tokens(pair: Pair, tokenizer: Any, task: str, chat: bool = False) -> tuple[int, int]:
    """The right and the wrong answer's token behind the clean prompt.

    Raises:
        UserError: one of them is not exactly one token that the model knows, or both are the same.
    """
    head = (render(pair.clean, tokenizer, task) if chat else plain(pair.clean)).text
    answer, other = (text.lstrip() if chat else text for text in (pair.answer, pair.wrong))
    right = _given_or_found(tokenizer, head, answer, pair.answer_id, task, "answer")
    wrong = _given_or_found(tokenizer, head, other, pair.wrong_id, task, "wrong")
    if right == wrong:
        raise UserError(
            f"task {task}: answer {pair.answer!r} and wrong {pair.wrong!r} are the same token after {pair.clean!r}"
        )
    return right, wrong


def _given_or_found(tokenizer: Any, prompt: str, answer: str, given: int | None, task: str, field: str) -> int:
    if given is None:
        return answer_token(tokenizer, prompt, answer, task, field)
    if not 0 <= given < len(tokenizer):
        raise UserError(
            f"task {task}: field '{field}_id' {given} is out of range: the vocabulary has {len(tokenizer)} tokens"
        )
    return given


def answer_token(tokenizer: Any, prompt: str, answer: str, task: str, field: str) -> int:
    """The token that `answer` is when it follows `prompt`.

    Tokenised together with the prompt, because a tokenizer may treat the start of a text apart.

    Raises:
        UserError: it is not exactly one token.
    """
    head = tokenizer.encode(prompt, add_special_tokens=False)
    whole = tokenizer.encode(prompt + answer, add_special_tokens=False)
    tail = whole[len(head) :] if whole[: len(head)] == head else tokenizer.encode(answer, add_special_tokens=False)
    if len(tail) != 1:
        pieces = tokenizer.convert_ids_to_tokens(tail)
        raise UserError(
            f"task {task}: field {field!r} {answer!r} after {prompt!r} is {len(tail)} tokens {pieces} for this model; "
            "answers must be single tokens"
        )
    if tail[0] == _unknown(tokenizer):
        raise UserError(f"task {task}: field {field!r} {answer!r} is not in the model's vocabulary")
    return int(tail[0])


def _unknown(tokenizer: Any) -> int | None:
    """The token that stands for what the vocabulary lacks; None where there is none, or where BOS doubles as it."""
    unknown: int | None = tokenizer.unk_token_id
    return None if unknown == tokenizer.bos_token_id else unknown


def _side(task: str, prompts: Sequence[tuple[Rendered, tuple[str, ...]]], tokenizer: Any, device: torch.device) -> Side:
    rows, roles, n_bos = [], [], 0
    for shown, words in prompts:
        encoded = tokenizer(shown.text, add_special_tokens=False, return_offsets_mapping=bool(words))
        ids, offsets = list(encoded["input_ids"]), list(encoded["offset_mapping"]) if words else []
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
        rows.append(bos + ids)
        roles.append(_token_roles(task, shown, words, offsets) if words else ())
    tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row)
    lengths = torch.tensor([len(row) for row in rows])
    return Side(tokens.to(device), lengths.to(device), n_bos, tuple(roles))


def _bos(tokenizer: Any, shown: Rendered, ids: Sequence[int]) -> list[int]:
    """The BOS that a prompt starts with, if it does: the tokenizer's, or in a chat what the template begins with."""
    if tokenizer.bos_token_id is None:
        return []
    bos = int(tokenizer.bos_token_id)
    templated = len(shown.text) > shown.stop - shown.start
    return [] if templated and ids[0] != bos else [bos]


def _token_roles(
    task: str, shown: Rendered, words: tuple[str, ...], offsets: Sequence[tuple[int, int]]
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
