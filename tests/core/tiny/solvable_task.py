"""A task that a random model can do: it prefers one answer after the clean prompt, the other after the corrupt one.

With SAE errors kept, the splice then costs nothing and there is a circuit to find.
"""

from __future__ import annotations

import random
from dataclasses import replace

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from circuit_tui.core.tasks.task import Pair, Task
from tiny.models import WORDS
from tiny.models_with_saes import TinyModel
from tiny.tasks import make_task


def solvable_task(
    tiny_model: TinyModel, train: tuple[int, ...], test: tuple[int, ...], *, turn: int = 0, seed: int = 0
) -> Task:
    """Like `make_task`, with answers that `tiny_model` gets right, as far as possible."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model.folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_model.folder)
    words = tokenizer.convert_tokens_to_ids(list(WORDS))
    draw = random.Random(seed)

    @torch.no_grad()
    def logits(text: str) -> torch.Tensor:
        ids = [tokenizer.convert_tokens_to_ids("<bos>"), *tokenizer.convert_tokens_to_ids(text.split())]
        answers: torch.Tensor = model(torch.tensor([ids])).logits[0, -1, words]
        return answers

    def answered(pair: Pair) -> Pair:
        clean, corrupt = logits(pair.clean), logits(pair.corrupt)
        # By how much each word leads each other one: on clean, or more than on corrupt, whichever is less.
        ahead, gained = (row.unsqueeze(1) - row.unsqueeze(0) for row in (clean, clean - corrupt))
        best = torch.minimum(ahead, gained).flatten().topk(4).indices.tolist()
        # Not always the best one: a task should have several answers.
        right, wrong = divmod(draw.choice(best), len(WORDS))
        return replace(pair, answer=f" {WORDS[right]}", wrong=f" {WORDS[wrong]}")

    task = make_task(train, test, turn=turn, seed=seed)
    return Task("able", "random words", tuple(answered(pair) for pair in task.pairs))
