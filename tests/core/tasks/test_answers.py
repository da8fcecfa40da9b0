"""The score of an answer against its definition, for arbitrary answers."""

from __future__ import annotations

import random
from functools import cache

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from circuit_tui.core.evaluation import metrics
from circuit_tui.core.evaluation.metrics import PromptMetrics
from circuit_tui.core.tasks.answers import Answers, rows_per_prompt_of

VOCAB = 5
CPU = torch.device("cpu")
answer = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=4).map(tuple)
pairs = st.lists(st.tuples(answer, answer, st.integers(1, 6)), min_size=1, max_size=5)


@cache
def next_token(model: int, prompt: int, prefix: tuple[int, ...]) -> Tensor:
    """Random logits of the next token, the same for the same text."""
    draw = random.Random(repr((model, prompt, prefix)))
    return torch.tensor([draw.uniform(-3, 3) for _ in range(VOCAB)], dtype=torch.float64)


def log_probability(model: int, prompt: int, tokens: tuple[int, ...]) -> float:
    """Log-probability of `tokens`, one token after the other."""
    rows = [next_token(model, prompt, tokens[:k]).log_softmax(-1) for k in range(len(tokens))]
    return sum(float(row[token]) for row, token in zip(rows, tokens, strict=True))


def divergence(prompt: int, tokens: tuple[int, ...]) -> float:
    """KL from model 0 to model 1, at each token of an answer."""
    total = 0.0
    for k in range(len(tokens)):
        p, q = (next_token(model, prompt, tokens[:k]).softmax(-1) for model in (0, 1))
        total += float((p * (p / q).log()).sum())
    return total


def read(answers: Answers, given: list[tuple[tuple[int, ...], tuple[int, ...], int]], model: int) -> Tensor:
    """Logits at each read: those behind the tokens of its row up to its column."""
    found = []
    for row, place in zip(answers.read_rows.tolist(), answers.read_columns.tolist(), strict=True):
        prompt, text = divmod(row, answers.rows_per_prompt)
        right, wrong, length = given[prompt]
        found.append(next_token(model, prompt, (right, wrong)[text][: place - length + 1]))
    return torch.stack(found).float()


def differ(given: list[tuple[tuple[int, ...], tuple[int, ...], int]]) -> bool:
    return all(right[: len(wrong)] != wrong[: len(right)] for right, wrong, _ in given)


@given(pairs, st.randoms(use_true_random=False))
def test_every_number_is_that_of_its_definition(
    given: list[tuple[tuple[int, ...], tuple[int, ...], int]], draw: random.Random
) -> None:
    assume(differ(given))
    both = [(right, wrong) for right, wrong, _ in given]
    every = Answers.from_tokens(both, [length for *_, length in given], rows_per_prompt_of(both), CPU)
    chosen = draw.choices(range(len(given)), k=len(given))
    answers, reads = every.select(torch.tensor(chosen))
    measured = PromptMetrics.empty(len(chosen))
    plain, logits = (read(every, given, model)[reads] for model in (0, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "LARGEST_PART", draw.choice([1, 2, 5, 1000]) * logits.shape[1])
        measured.fill(torch.arange(len(chosen)), logits, plain, answers)
    turned = answers.swapped(torch.tensor(chosen[:1]) * 0).logit_difference(logits)
    for at, prompt in enumerate(chosen):
        right, wrong, _ = given[prompt]
        scores = [log_probability(1, prompt, tokens) for tokens in (right, wrong)]
        assert abs(float(measured.logit_diff[at]) - (scores[0] - scores[1])) < 1e-4
        assert abs(float(measured.cross_entropy[at]) + scores[0]) < 1e-4
        assert abs(float(measured.kl[at]) - divergence(prompt, right)) < 1e-4
        sign = -1 if at == 0 else 1
        assert abs(float(turned[at]) - sign * (scores[0] - scores[1])) < 1e-4


@given(pairs)
def test_a_task_of_single_tokens_has_one_read_a_prompt_and_plain_differences(
    given: list[tuple[tuple[int, ...], tuple[int, ...], int]],
) -> None:
    both = [(right[:1], wrong[:1]) for right, wrong, _ in given]
    assume(all(right != wrong for right, wrong in both))
    answers = Answers.from_tokens(both, [length for *_, length in given], rows_per_prompt_of(both), CPU)
    assert (answers.rows_per_prompt, len(answers.other_prompts)) == (1, 0)
    logits = torch.stack([next_token(0, prompt, ()) for prompt in range(len(given))]).float()
    right, wrong = (torch.tensor([pair[k][0] for pair in both]) for k in (0, 1))
    rows = torch.arange(len(given))
    assert torch.equal(answers.logit_difference(logits), logits[rows, right] - logits[rows, wrong])
    assert torch.equal(answers.read_columns, torch.tensor([length - 1 for *_, length in given]))
