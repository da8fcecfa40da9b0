"""Turns the text of a task into token tensors for one tokenizer.

Every prompt starts with the tokenizer's BOS where it has one (`bos_token_id is not None`; an id of 0 is a BOS too) and
is right-padded, whatever side the tokenizer would pad. In a chat the template decides about BOS, and the answer
follows it without a space. Where an answer of the task is several tokens, every prompt has two rows: the prompt
followed by all but the last token of the right answer, and by those of the wrong one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.answers import Answers, AnswerTokens, rows_per_prompt_of
from circuit_tui.core.tasks.chat import AFTER, BEFORE, RenderedPrompt, render_chat, render_plain
from circuit_tui.core.tasks.continuation import continuation
from circuit_tui.core.tasks.task import SPLITS, Pair, Split, Task


@dataclass(frozen=True, slots=True)
class TokenizedPrompts:
    """The clean or the corrupt prompts of a split, with one row for each or two (see `answers.py`).

    Attributes:
        tokens: `[row, position]` int64, right-padded with 0.
        lengths: `[row]` int64, real tokens including BOS.
        n_bos: 1 where position 0 is BOS, else 0.
        roles: for each row the role of each of the prompt's tokens after BOS, or empty tuples.
        n_answer_tokens: `[row]` int64, how many of the row's last tokens belong to an answer.
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
    """The tokenised prompts of one split. The corrupt prompts too are followed by the answers to the clean ones."""

    pairs: tuple[Pair, ...]
    clean: TokenizedPrompts
    corrupt: TokenizedPrompts
    answers: Answers

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.pairs)

    def pair_of_row(self, row: int) -> Pair:
        """The pair that row number `row` of `clean` or `corrupt` belongs to."""
        return self.pairs[row // self.answers.rows_per_prompt]


def tokenize(
    task: Task, tokenizer: Any, device: torch.device, chat: bool = False, bos: bool = True
) -> dict[Split, PromptSet]:
    """Tokenises the splits of `task` that have prompts; with `chat` each prompt is a user's message.

    Without `bos` the tokenizer's BOS is not put in front of plain prompts.

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
    rows_per_prompt = rows_per_prompt_of(pair for pairs in answers.values() for pair in pairs)
    return {
        split: _prompt_set(task.name, task.split(split), tokens, rows_per_prompt, tokenizer, device, chat, bos)
        for split, tokens in answers.items()
        if tokens
    }


def tokenize_pairs(task: str, pairs: Sequence[Pair], tokenizer: Any, device: torch.device) -> PromptSet:
    """Tokenises `pairs` of the task named `task`, whatever their splits, as plain prompts behind BOS.

    Raises:
        UserError: as `tokenize`.
    """
    answers = [answer_tokens(pair, tokenizer, task) for pair in pairs]
    return _prompt_set(task, tuple(pairs), answers, rows_per_prompt_of(answers), tokenizer, device, False, True)


def _prompt_set(
    task: str,
    pairs: tuple[Pair, ...],
    answers: list[AnswerTokens],
    rows_per_prompt: int,
    tokenizer: Any,
    device: torch.device,
    chat: bool,
    bos: bool,
) -> PromptSet:
    places = [pair.place(task) for pair in pairs]
    suffixes = [tuple(answer[:-1] for answer in pair) if rows_per_prompt > 1 else ((),) for pair in answers]

    def tokenized(prompts: Sequence[str]) -> TokenizedPrompts:
        rendered = [
            render_chat(prompt, tokenizer, place) if chat else render_plain(prompt)
            for prompt, place in zip(prompts, places, strict=True)
        ]
        roles = [pair.roles for pair in pairs]
        return _tokenized_prompts(places, rendered, roles, suffixes, tokenizer, device, bos)

    clean, corrupt = tokenized([pair.clean for pair in pairs]), tokenized([pair.corrupt for pair in pairs])
    lengths = clean.prompt_lengths[::rows_per_prompt].tolist()
    return PromptSet(pairs, clean, corrupt, Answers.from_tokens(answers, lengths, rows_per_prompt, device))


def tokens_sha256(prompt_sets: Mapping[Split, PromptSet]) -> str:
    """SHA-256 of all that is computed on: the token ids of every row, clean and corrupt, and those of the answers."""
    digest = hashlib.sha256()
    for split in SPLITS:
        if split not in prompt_sets:
            continue
        prompts = prompt_sets[split]
        for side in (prompts.clean, prompts.corrupt):
            rows = zip(side.tokens.tolist(), side.lengths.tolist(), strict=True)
            digest.update(json.dumps([split, side.n_bos, [row[:length] for row, length in rows]]).encode())
        answers = prompts.answers
        for part in (answers.difference_column, answers.right, answers.wrong, answers.other_tokens):
            digest.update(json.dumps(part.tolist()).encode())
    return digest.hexdigest()


def answer_tokens(pair: Pair, tokenizer: Any, task: str, chat: bool = False) -> AnswerTokens:
    """The right and the wrong answer's tokens behind the clean prompt.

    Raises:
        UserError: one of them has no tokens, or some that the model does not know; both are the same, or one begins
            the other.
    """
    place = pair.place(task)
    prompt = (render_chat(pair.clean, tokenizer, place) if chat else render_plain(pair.clean)).text
    right_text, wrong_text = (text.lstrip() if chat else text for text in (pair.answer, pair.wrong))
    right = _given_or_found(tokenizer, prompt, right_text, pair.answer_id, place, "answer")
    wrong = _given_or_found(tokenizer, prompt, wrong_text, pair.wrong_id, place, "wrong")
    if right == wrong:
        raise UserError(
            f"{place}: answer {pair.answer!r} and wrong {pair.wrong!r} are the same tokens after {pair.clean!r}"
        )
    shorter = min(len(right), len(wrong))
    if right[:shorter] == wrong[:shorter]:
        raise UserError(
            f"{place}: of answer {pair.answer!r} and wrong {pair.wrong!r} after {pair.clean!r} one is the "
            "beginning of the other, so that the longer can never be the likelier; let them differ before one ends"
        )
    return right, wrong


def _given_or_found(
    tokenizer: Any, prompt: str, answer: str, given: int | tuple[int, ...] | None, place: str, field: str
) -> tuple[int, ...]:
    """The tokens that the task gives for an answer, or else those that its text becomes behind `prompt`."""
    if given is None:
        return _found(tokenizer, prompt, answer, place, field)
    tokens = (given,) if isinstance(given, int) else given
    for token in tokens:
        if not 0 <= token < len(tokenizer):
            raise UserError(
                f"{place}: field '{field}_id' {token} is out of range: the vocabulary has {len(tokenizer)} tokens"
            )
    return tokens


def _found(tokenizer: Any, prompt: str, answer: str, place: str, field: str) -> tuple[int, ...]:
    """The tokens that `answer` becomes behind `prompt`."""
    tokens = continuation(tokenizer, prompt, answer)
    if tokens is None:
        raise UserError(
            f"{place}: field {field!r} {answer!r} after {prompt!r} grows together with the prompt's last token for "
            f"this model; give its tokens as '{field}_id'"
        )
    if not tokens:
        raise UserError(f"{place}: field {field!r} {answer!r} after {prompt!r} has no tokens for this model")
    if _unknown_token(tokenizer) in tokens:
        raise UserError(f"{place}: field {field!r} {answer!r} is not in the model's vocabulary")
    return tuple(int(token) for token in tokens)


def _unknown_token(tokenizer: Any) -> int | None:
    """The token for text outside the vocabulary; None where there is none, or where BOS doubles as it."""
    unknown: int | None = tokenizer.unk_token_id
    return None if unknown == tokenizer.bos_token_id else unknown


def _tokenized_prompts(
    places: Sequence[str],
    prompts: Sequence[RenderedPrompt],
    word_roles: Sequence[tuple[str, ...]],
    suffixes: Sequence[tuple[tuple[int, ...], ...]],
    tokenizer: Any,
    device: torch.device,
    with_bos: bool,
) -> TokenizedPrompts:
    """Tokenises `prompts`, each with the roles of its words; `suffixes` are the tokens behind each of its rows.

    `places` say where each prompt is from (`Pair.place`).
    """
    rows, roles, n_bos = [], [], 0
    # All at once: a call takes far longer than what it does for one prompt.
    with_roles = any(word_roles)
    if with_roles and not tokenizer.is_fast:
        raise UserError(
            f"{places[0]}: it has roles, and the model's tokenizer is written in Python and does not say where its "
            "tokens lie in the text; convert it to a tokenizer.json, or leave the roles out"
        )
    encoded = tokenizer(
        [prompt.text for prompt in prompts], add_special_tokens=False, return_offsets_mapping=with_roles
    )
    every_offsets: Sequence[Sequence[tuple[int, int]]] = (
        encoded["offset_mapping"] if with_roles else [()] * len(prompts)
    )
    for place, prompt, words, row_suffixes, prompt_ids, prompt_offsets in zip(
        places, prompts, word_roles, suffixes, encoded["input_ids"], every_offsets, strict=True
    ):
        ids, offsets = list(prompt_ids), list(prompt_offsets)
        if not ids:
            raise UserError(f"{place}: the prompt {prompt.text!r} has no tokens")
        if _unknown_token(tokenizer) in ids:
            own = prompt.text[prompt.start : prompt.stop]
            unknown = [word for word in own.split() if _unknown_token(tokenizer) in tokenizer.encode(word)]
            raise UserError(
                f"{place}: the prompt {own!r} has words that are not in the model's vocabulary: {', '.join(unknown)}"
            )
        bos = _bos(tokenizer, prompt, ids) if with_bos else []
        if bos and ids[0] == bos[0]:  # the template has put it there
            ids, offsets = ids[1:], offsets[1:]
        n_bos = len(bos)
        rows += [[*bos, *ids, *suffix] for suffix in row_suffixes]
        roles += [_token_roles(place, prompt, words, offsets) if words else ()] * len(row_suffixes)
    tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row)
    lengths = torch.tensor([len(row) for row in rows])
    n_answer_tokens = torch.tensor([len(suffix) for row_suffixes in suffixes for suffix in row_suffixes])
    return TokenizedPrompts(tokens.to(device), lengths.to(device), n_bos, tuple(roles), n_answer_tokens.to(device))


def _bos(tokenizer: Any, prompt: RenderedPrompt, ids: Sequence[int]) -> list[int]:
    """The BOS that a prompt starts with, or nothing: the tokenizer's; in a chat only if the template puts it there."""
    if tokenizer.bos_token_id is None:
        return []
    bos = int(tokenizer.bos_token_id)
    templated = len(prompt.text) > prompt.stop - prompt.start
    return [] if templated and ids[0] != bos else [bos]


def _token_roles(
    place: str, prompt: RenderedPrompt, words: tuple[str, ...], offsets: Sequence[tuple[int, int]]
) -> tuple[str, ...]:
    """The role of each token: that of the word with the token's first character that is not a space.

    Tokens that a chat template adds in front of the prompt and behind it have roles of their own.
    """
    text = prompt.text[: prompt.stop]
    spans = [match.span() for match in re.compile(r"\S+").finditer(text, prompt.start)]
    if len(spans) != len(words):
        own = text[prompt.start :]
        raise UserError(f"{place}: field 'roles' has {len(words)} names for the {len(spans)} words of {own!r}")
    roles, word = [], 0
    for start, end in offsets:
        # A token that is only a space belongs to the word after it.
        first = next((at for at in range(start, end) if not prompt.text[at].isspace()), end)
        if first < prompt.start:
            roles.append(BEFORE)
            continue
        if start >= prompt.stop:
            roles.append(AFTER)
            continue
        while word + 1 < len(spans) and first >= spans[word][1]:
            word += 1
        roles.append(words[word])
    return tuple(roles)
