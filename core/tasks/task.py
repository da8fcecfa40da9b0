"""A task: pairs of a clean and a corrupt prompt, with a right and a wrong answer and the names of positions.

It is text alone. `tokens.py` turns it into tensors of tokens for one model.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Literal, get_args

Split = Literal["train", "test", "unseen"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class Pair:
    """A clean prompt, its corrupt twin, and the two answers whose logits are compared.

    Attributes:
        clean, corrupt: the two prompts.
        answer, wrong: the texts that follow the prompt, with the leading space where there is one; each may be several
            tokens.
        split: which prompts the pair belongs to.
        roles: the position name of each whitespace-separated word of `clean` (and of `corrupt`, which then has as many
            words); every token of a word takes the word's role. Empty when the prompt has no named positions.
        answer_id, wrong_id: the token, or tokens, to read instead of those of the text (the first of an answer of
            several tokens, say); None means those of the text.
        source: the file and line that the pair is from, ``FILE:LINE``; empty for a built-in task. For messages alone:
            pairs that differ in nothing else are equal.
    """

    clean: str
    corrupt: str
    answer: str
    wrong: str
    split: Split = "train"
    roles: tuple[str, ...] = ()
    answer_id: int | tuple[int, ...] | None = None
    wrong_id: int | tuple[int, ...] | None = None
    source: str = field(default="", compare=False)

    def place(self, task: str) -> str:
        """How a message begins that is about this pair of `task`: with its line in a file, or the task's name."""
        return self.source or f"task {task}"


@dataclass(frozen=True, slots=True)
class Task:
    """A named set of pairs. A search sees `train` alone; `test` and `unseen` (another template) are held out."""

    name: str
    description: str
    pairs: tuple[Pair, ...]

    def split(self, split: Split) -> tuple[Pair, ...]:
        """The pairs of one split, in file order."""
        return tuple(pair for pair in self.pairs if pair.split == split)

    @property
    def sha256(self) -> str:
        """SHA-256 of every field of the pairs, in order: tasks with the same hash ask the same questions."""
        digest = hashlib.sha256()
        for pair in self.pairs:
            text = [pair.clean, pair.corrupt, pair.answer, pair.wrong, pair.split, list(pair.roles)]
            row = [*text, pair.answer_id, pair.wrong_id]
            digest.update(json.dumps(row, ensure_ascii=False).encode())
        return digest.hexdigest()
