"""Builds a task from functions that draw its pairs: fixed seed, fixed split sizes, no prompt twice."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from circuit_tui.core.tasks.task import Pair, Split, Task

SIZES: dict[Split, int] = {"train": 512, "test": 128, "unseen": 128}
"""Pairs in each split of every built-in task."""

Draw = Callable[[random.Random, int], Pair]
"""Draws one pair. By its index a task cycles through directions and answers, so that every split is balanced."""

MAX_TRIES = 1000


def words(*parts: tuple[str, str]) -> tuple[str, tuple[str, ...]]:
    """Joins (word, role) pairs to a prompt and the role of each of its words."""
    return " ".join(word for word, _ in parts), tuple(role for _, role in parts)


def build(name: str, description: str, template: Draw, unseen: Draw) -> Task:
    """Builds the task `name`: train and test drawn from `template`, unseen from `unseen`.

    The clean prompts are all different, and no clean prompt of one split is a prompt, clean or corrupt, of another.
    The name seeds the generator: a task does not change when another one does.

    Raises:
        RuntimeError: no new pair comes up in `MAX_TRIES` draws.
    """
    rng = random.Random(f"circuit-tui/{name}")
    pairs: list[Pair] = []
    clean_seen: set[str] = set()
    corrupt_seen: dict[str, Split] = {}
    for split, size in SIZES.items():
        draw = unseen if split == "unseen" else template
        clean_in_other_splits = frozenset(clean_seen)
        for index in range(size):
            for _ in range(MAX_TRIES):
                pair = replace(draw(rng, index), split=split)
                in_other_split = corrupt_seen.get(pair.clean, split) != split
                if not in_other_split and pair.clean not in clean_seen and pair.corrupt not in clean_in_other_splits:
                    break
            else:
                raise RuntimeError(f"task {name}: no new pair for {split} after {MAX_TRIES} tries")
            clean_seen.add(pair.clean)
            corrupt_seen.setdefault(pair.corrupt, split)
            pairs.append(pair)
    return Task(name, description, tuple(pairs))
