"""A task: pairs of a clean and a corrupt prompt, the right and the wrong answer, and the names of the positions.

Text only. `tokens.py` turns a task into token tensors for one model.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal, get_args

Split = Literal["train", "test", "unseen"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class Pair:
    """One clean prompt, its corrupt twin, and the two answers whose logits are compared.

    `answer` and `wrong` are the strings that follow the prompt, with the leading space where the text has one; each may
    be several tokens.
    `roles` names the position of each whitespace-separated word of `clean` (and of `corrupt`, which then has as many
    words); every token of a word takes the word's role. Empty when the prompt has no named positions.
    `answer_id` and `wrong_id` are set where the prompts file says itself which token is read (the first of an answer of
    several tokens, say), or which tokens; None means those of the text.
    """

    clean: str
    corrupt: str
    answer: str
    wrong: str
    split: Split = "train"
    roles: tuple[str, ...] = ()
    answer_id: int | tuple[int, ...] | None = None
    wrong_id: int | tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A named set of pairs. `train` is what a search may see; `test` and `unseen` (another template) are held out."""

    name: str
    description: str
    pairs: tuple[Pair, ...]

    def split(self, split: Split) -> tuple[Pair, ...]:
        """The pairs of one split, in file order."""
        return tuple(pair for pair in self.pairs if pair.split == split)

    @property
    def sha256(self) -> str:
        """SHA-256 of the pairs, every field of each, in order: two tasks with one hash ask the same questions."""
        digest = hashlib.sha256()
        for pair in self.pairs:
            text = [pair.clean, pair.corrupt, pair.answer, pair.wrong, pair.split, list(pair.roles)]
            row = [*text, pair.answer_id, pair.wrong_id]
            digest.update(json.dumps(row, ensure_ascii=False).encode())
        return digest.hexdigest()
