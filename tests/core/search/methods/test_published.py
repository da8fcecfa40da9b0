"""The published recipe against a plain loop: the oracle's forward pass with autograd, and Adam written out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from naive import Naive
from tiny.models_with_saes import TinyModel
from tiny.problems import open_naive
from tiny.searches import SearchableProblem, run_search
from torch import Tensor

from circuit_tui.core.splice.problem import Problem

STEPS = 4


def logit_difference(naive: Naive, prompt: int, logits: Tensor) -> Tensor:
    pair = naive.task.split("train")[prompt]
    right, wrong = (naive.tokenizer.convert_tokens_to_ids(text.strip()) for text in (pair.answer, pair.wrong))
    return logits[right] - logits[wrong]


def plain_loop(
    naive: Naive, problem: Problem, weight: float, divisor: float, r: float, lr: float
) -> tuple[list[float], list[Tensor]]:
    """Loss and soft mask of each of the first `STEPS` steps, all train prompts in every batch."""
    space, names, prompts = problem.space, problem.alignment.names, range(len(problem.task.split("train")))
    spliced = torch.stack([logit_difference(naive, p, naive.spliced("train", p)) for p in prompts]).mean()
    theta = torch.ones(len(space))
    first, second = torch.zeros_like(theta), torch.zeros_like(theta)
    losses, masks = [], []
    for step in range(STEPS):
        own = theta.clone().requires_grad_()
        mask = 1 / (1 + torch.exp(-own * 200 ** (r * step / STEPS)))

        def at(site: int, name: str, mask: Tensor = mask) -> Tensor:
            here = (space.site == site) & (space.position == names.index(name))
            return mask.new_zeros(problem.sites[site].sae.d_sae).index_put((space.latent[here],), mask[here])

        masked = torch.stack([logit_difference(naive, p, naive.masked("train", p, at)) for p in prompts]).mean()
        loss = (spliced - masked).abs() + weight * mask.sum() / divisor
        (grad,) = torch.autograd.grad(loss, own)
        losses.append(float(loss.detach()))
        masks.append(mask.detach())
        first = 0.9 * first + 0.1 * grad
        second = 0.999 * second + 0.001 * grad**2
        corrected = (first / (1 - 0.9 ** (step + 1))) / ((second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
        theta = theta - lr * corrected
    return losses, masks


@pytest.mark.parametrize(
    ("name", "per_position", "weight", "r"),
    [("gpt2-each", True, 0.4, 0.5), ("gpt2-each", False, 0.4, 0.5), ("llama-each", True, 2.0, 0.8)],
)
def test_the_first_steps_are_those_of_a_plain_loop(
    tiny_model: Callable[[str], TinyModel],
    searchable: Callable[[str], SearchableProblem],
    name: str,
    per_position: bool,
    weight: float,
    r: float,
) -> None:
    """The mask at step three shows theta after three steps of Adam, through T = 200^(r 3/4)."""
    problem = searchable(name).problem
    assert problem.n_positions == 6
    divisor = 2 * (6 if per_position else 1)
    losses, masks = plain_loop(open_naive(tiny_model(name.split("-")[0]), problem), problem, weight, divisor, r, 0.05)
    search = searchable(name).search(
        "published", steps=STEPS, batch=99, r=r, per_position=per_position, **{"lambda": weight}
    )
    _, events = run_search(search)
    assert [event.loss for event in events if event.stage == "optimise"] == pytest.approx(losses, abs=1e-5)
    assert search.masks.steps == list(range(STEPS))
    for got, expected in zip(search.masks.masks, masks, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    theta = [torch.logit(mask.double()) / 200 ** (r * step / STEPS) for step, mask in enumerate(search.masks.masks)]
    assert bool((theta[0] - 1).abs().max() < 1e-5)
    # A step of Adam is at most about its learning rate, and its first is all of it.
    torch.testing.assert_close((theta[1] - theta[0]).abs().max(), torch.tensor(0.05).double(), rtol=0, atol=1e-3)


def test_a_larger_lambda_keeps_fewer(searchable: Callable[[str], SearchableProblem]) -> None:
    sizes = []
    for weight in (0.0, 0.1, 20.0):
        result, _ = run_search(searchable("gpt2").search("published", steps=80, **{"lambda": weight}))
        sizes.append(len(result.nodes))
    assert sizes[0] > sizes[1] > sizes[2]


def test_the_target_only_decides_whether_it_was_reached(searchable: Callable[[str], SearchableProblem]) -> None:
    results = [run_search(searchable("gpt2").search("published", target, steps=60))[0] for target in (0.05, 0.999)]
    assert results[0].nodes == results[1].nodes
    assert results[0].train == results[1].train
    assert [result.reached for result in results] == [True, False]
