"""Makes a task of a templates file for one tokenizer: draws words, fills templates, and keeps the pairs that suit.

A pair suits if its twins have as many tokens as each other and its answers are single tokens. Draws depend on the seed
and the template's text alone, so a template gives the same pairs whatever others stand beside it.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.continuation import continuation
from circuit_tui.core.tasks.prompts_file import TRAIN, pair_hash, train_hashes
from circuit_tui.core.tasks.task import Pair, Split, Task
from circuit_tui.core.tasks.templates import ANSWER, SLOT, Sides, Template, Templates

STALE = 1000
"""How many draws in a row may bring nothing new before a template counts as used up."""
Row = Mapping[str, str]
"""A row of a word list: the word in each column."""


@dataclass(frozen=True, slots=True)
class MadeTemplate:
    """What became of one template: its pairs, and how many draws went for which reason."""

    text: str
    pairs: tuple[Pair, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class MadeTask:
    """A task made of templates; `words_left_out` are, by list, the words that are no single tokens."""

    task: Task
    templates: tuple[MadeTemplate, ...]
    words_left_out: Mapping[str, tuple[str, ...]]


def make_task(templates: Templates, name: str, tokenizer: Any) -> MadeTask:
    """Returns the task `name` of `templates`, and what was left out of it.

    Raises:
        UserError: a list has too few words that are single tokens, or no pair is left for train or for test.
    """
    lists, gone = _word_lists(templates, tokenizer)
    maker = _Maker(templates, lists, tokenizer)
    made = [maker.make(template) for template in templates.templates]
    if not templates.split_by:
        made = _split_by_text(made)
    pairs = tuple(pair for one in made for pair in one.pairs)
    for split in ("train", "test"):
        if not any(pair.split == split for pair in pairs):
            reasons = sum((Counter(one.left_out) for one in made), Counter())
            told = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
            raise UserError(f"task {name}: no pair is left for {split} ({told or 'none was drawn'})")
    return MadeTask(Task(name, templates.description, pairs), tuple(made), gone)


class _Maker:
    """Fills the templates of one file in; no text occurs twice unless a word list splits the task."""

    def __init__(self, templates: Templates, lists: Mapping[str, Sequence[Row]], tokenizer: Any) -> None:
        self._file, self._lists, self._tokenizer = templates, lists, tokenizer
        self._seen: set[tuple[str, ...]] = set()

    def make(self, template: Template) -> MadeTemplate:
        # A seed that is a text is hashed by its bytes: the same on every machine.
        rng = random.Random(f"{self._file.seed}:{template.text}")
        pairs: list[Pair] = []
        gone: Counter[str] = Counter()
        stale = 0
        while stale < STALE:
            pair = self._drawn(template, rng)
            reason = self._unsuitable(pair)
            if reason:
                gone[reason] += 1
                stale += 1
                continue
            stale = 0
            both = (pair, _twin(pair)) if self._file.twins else (pair,)
            if len(pairs) + len(both) > self._file.pairs:
                break
            self._seen |= {key for one in both for key in self._keys(one)}
            pairs += both
            if len(pairs) == self._file.pairs:
                break
        return MadeTemplate(template.text, tuple(pairs), gone)

    def _drawn(self, template: Template, rng: random.Random) -> Pair:
        split: Split = "unseen" if template.unseen else "train"
        if self._file.split_by and not template.unseen:
            split = "train" if rng.random() < TRAIN else "test"
        values = self._values(template, split, rng)
        sides: Sides = rng.choice(self._file.sides_of(template))
        clean, corrupt = (_filled_sides(side, values) for side in (sides.clean, sides.corrupt))
        words = [(_filled(word, values | clean), _filled(word, values | corrupt)) for word in template.words]
        roles = [
            role
            for role, (word, _) in zip(template.roles.split(), words, strict=False)
            for _ in word.split()  # a slot may hold several words
        ]
        return Pair(
            " ".join(word for word, _ in words),
            " ".join(word for _, word in words),
            clean[ANSWER],
            corrupt[ANSWER],
            split,
            tuple(roles),
        )

    def _values(self, template: Template, split: Split, rng: random.Random) -> dict[str, str]:
        """What is drawn, as ``{name.column}`` and, where one column is left, also as ``{name}``."""
        taken: dict[str, list[Row]] = {}
        values: dict[str, str] = {}
        for name, choices in self._file.draws_of(template).items():
            chosen, _, column = rng.choice(choices).partition(".")
            rows = self._lists[chosen]
            if chosen == self._file.split_by and split != "unseen":
                rows = _part(rows, split)
            left = [row for row in rows if row not in taken.get(chosen, [])]
            if not left:
                raise UserError(f"words.{chosen}: {len(rows)} words are too few for what one {split} pair draws")
            row = rng.choice(left)
            taken.setdefault(chosen, []).append(row)
            values |= {f"{name}.{each}": word for each, word in row.items()}
            if column or len(row) == 1:
                values[name] = row[column] if column else next(iter(row.values()))
        return values

    def _unsuitable(self, pair: Pair) -> str:
        """Why a pair is left out; empty if it is not."""
        if pair.answer == pair.wrong or pair.clean == pair.corrupt:
            return "both sides the same"
        if any(key in self._seen for key in self._keys(pair)):
            return "drawn before"
        clean, corrupt = (
            self._tokenizer(text, add_special_tokens=False).input_ids for text in (pair.clean, pair.corrupt)
        )
        if len(clean) != len(corrupt):
            return "twins of different length"
        for text in (pair.answer, pair.wrong):
            if len(continuation(self._tokenizer, pair.clean, text) or ()) != 1:
                return "an answer of several tokens"
        if pair.roles and len(pair.corrupt.split()) != len(pair.roles):
            return "twins of different length"
        return ""

    def _keys(self, pair: Pair) -> list[tuple[str, ...]]:
        """What must not occur again: the pair if words keep train and test apart, else either text."""
        return [(pair.clean, pair.corrupt)] if self._file.split_by else [(pair.clean,), (pair.corrupt,)]


def _word_lists(templates: Templates, tokenizer: Any) -> tuple[dict[str, list[Row]], dict[str, tuple[str, ...]]]:
    """Returns the rows of every word list, and the words for which rows were left out."""
    lists: dict[str, list[Row]] = {}
    gone: dict[str, tuple[str, ...]] = {}
    for name in templates.words:
        columns = templates.columns(name)
        rows = [dict(zip(columns, words, strict=True)) for words in zip(*columns.values(), strict=True)]
        several = [
            word for row in rows for word in row.values() if templates.single_tokens and not _single(tokenizer, word)
        ]
        lists[name] = [row for row in rows if not set(row.values()) & set(several)]
        if several:
            gone[name] = tuple(dict.fromkeys(several))
        if not lists[name]:
            raise UserError(f"words.{name}: no word is a single token for this model; single_tokens = false keeps them")
    return lists, gone


def _single(tokenizer: Any, word: str) -> bool:
    """Whether a word behind a space is one token that the model knows."""
    tokens = tokenizer(f" {word}", add_special_tokens=False).input_ids
    return len(tokens) == 1 and (tokens[0] != tokenizer.unk_token_id or tokenizer.unk_token_id is None)


def _filled(text: str, values: Mapping[str, str]) -> str:
    return SLOT.sub(lambda slot: values[slot[1]], text)


def _filled_sides(side: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    return {name: _filled(text, values) for name, text in side.items()}


def _twin(pair: Pair) -> Pair:
    return replace(pair, clean=pair.corrupt, corrupt=pair.clean, answer=pair.wrong, wrong=pair.answer)


def _part(rows: Sequence[Row], split: Split) -> list[Row]:
    """The rows of a list that train, or test, may use: the content decides, not the order."""
    order = sorted(rows, key=lambda row: hashlib.sha256(json.dumps(list(row.values())).encode()).digest())
    cut = round(len(order) * TRAIN)
    return order[:cut] if split == "train" else order[cut:]


def _split_by_text(made: Sequence[MadeTemplate]) -> list[MadeTemplate]:
    """Puts the pairs that are not unseen into train and test by a hash of their two texts; twins stay together."""
    own = [pair for one in made for pair in one.pairs if pair.split != "unseen"]
    train = train_hashes(pair_hash(pair.clean, pair.corrupt) for pair in own)

    def placed(pair: Pair) -> Pair:
        if pair.split == "unseen":
            return pair
        return replace(pair, split="train" if pair_hash(pair.clean, pair.corrupt) in train else "test")

    return [replace(one, pairs=tuple(map(placed, one.pairs))) for one in made]
