"""Mini-batches: every prompt once a round, alike in length within a pass, and the gradient of all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tiny.models_with_saes import TinyModel
from tiny.problems import open_problem
from tiny.tasks import make_task

from circuit_tui.core.search.minibatches import ShuffledBatches
from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.splice.reference_passes import MAX_LENGTH_RATIO
from circuit_tui.core.tasks.task import Pair


@pytest.fixture(scope="module")
def problem(tiny_model: Callable[[str], TinyModel]) -> Problem:
    """Prompts of one word and of up to eight."""
    short = tuple(Pair(noun, "dog", " runs", " run") for noun in ("cat", "cow", "hen"))
    task = make_task((8, 7, 8, 6, 5), (6,), turn=1)
    return open_problem(tiny_model("gpt2"), replace(task, pairs=(*task.pairs, *short)), "shared")


def test_every_prompt_comes_once_a_round(problem: Problem) -> None:
    batches = ShuffledBatches(problem, 4, torch.Generator().manual_seed(0))
    for _ in range(3):
        found = torch.cat([batches.next().prompts, batches.next().prompts])
        assert sorted(found.tolist()) == list(range(8))


def test_the_prompts_of_a_pass_are_alike_in_length(problem: Problem) -> None:
    batches = ShuffledBatches(problem, 8, torch.Generator().manual_seed(0))
    batch = batches.next()
    assert len(batch.parts) == 2
    for part in batch.parts:
        assert int(part.lengths.max()) <= MAX_LENGTH_RATIO * int(part.lengths.min())
        assert part.prefix.shape[1] == int(part.lengths.max())
    assert len(ShuffledBatches(problem, 1, torch.Generator().manual_seed(0)).next().parts) == 1


def test_a_mini_batch_has_the_gradient_of_all_its_prompts_at_once(problem: Problem) -> None:
    masked = MaskedModel(problem, torch.arange(len(problem.space)))
    batch = ShuffledBatches(problem, 8, torch.Generator().manual_seed(0)).next()
    whole = problem.batch("train", batch.prompts)
    found = []
    for each in (batch, whole):
        mask = torch.full((len(problem.space),), 0.5, requires_grad=True)
        difference = masked.logit_difference(mask, each)
        (gradient,) = torch.autograd.grad(difference.pow(2).mean(), mask)
        found.append((difference.detach(), gradient))
        masked.release(each)
    assert not masked._bound
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert bool(found[0][1].any())


def test_a_round_goes_on_from_where_it_was_stored(problem: Problem) -> None:
    first = ShuffledBatches(problem, 3, torch.Generator().manual_seed(1))
    first.next()
    second = ShuffledBatches(problem, 3, torch.Generator())
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.next().prompts, second.next().prompts)
