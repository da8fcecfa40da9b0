"""The nested ranking: hard prefixes forward, the gradient of a soft choice of k backward, sizes by their log."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny.searches import SearchableProblem, run_search
from torch import Tensor

from circuit_tui.core.search.methods.nested import NestedMethod
from circuit_tui.core.search.methods.top_k import top_k_mask
from circuit_tui.core.search.objective import MaskedModel


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12))
def test_the_k_best_are_kept(seed: int, n: int, k: int) -> None:
    k = min(k, n)
    scores = torch.randn(n, generator=torch.Generator().manual_seed(seed))
    chosen = top_k_mask(scores, k, 0.5)
    assert set(chosen.tolist()) <= {0.0, 1.0}
    assert set(chosen.nonzero()[:, 0].tolist()) == set(sorted(range(n), key=lambda node: -float(scores[node]))[:k])


def soft_choice(scores: Tensor, total: float, width: float) -> Tensor:
    """sigmoid((s - t) / width) with the t, found by bisection, that makes the sum `total`."""
    low, high = float(scores.min()) - 20, float(scores.max()) + 20
    for _ in range(200):
        middle = (low + high) / 2
        if float(torch.sigmoid((scores - middle) / width).sum()) > total:
            low = middle
        else:
            high = middle
    return torch.sigmoid((scores - low) / width)


@pytest.mark.parametrize(("k", "width"), [(1, 0.5), (3, 0.5), (6, 0.2), (3, 1.5)])
def test_the_gradient_is_that_of_a_soft_choice_of_k(k: int, width: float) -> None:
    """Against finite differences of the soft choice, whose threshold is solved for anew each time."""
    generator = torch.Generator().manual_seed(k)
    scores, weights = (torch.randn(7, generator=generator, dtype=torch.float64) for _ in range(2))
    own = scores.clone().requires_grad_()
    (top_k_mask(own, k, width) * weights).sum().backward()
    ranked = scores.sort(descending=True)[0]
    total = float(torch.sigmoid((scores - (ranked[k - 1] + ranked[k]) / 2) / width).sum())
    expected, step = torch.zeros_like(scores), 1e-5
    for node in range(len(scores)):
        moved = torch.zeros_like(scores)
        moved[node] = step
        ends = [float((soft_choice(scores + sign * moved, total, width) * weights).sum()) for sign in (1, -1)]
        expected[node] = (ends[0] - ends[1]) / (2 * step)
    assert own.grad is not None
    torch.testing.assert_close(own.grad, 4 * width * expected, rtol=1e-4, atol=1e-6)
    assert float(expected.abs().max()) > 1e-2


def test_what_all_nodes_gain_alike_moves_none() -> None:
    own = torch.randn(9).requires_grad_()
    (3 * top_k_mask(own, 4, 0.5)).sum().backward()
    assert own.grad is not None
    torch.testing.assert_close(own.grad, torch.zeros(9), rtol=0, atol=1e-6)


def test_sizes_are_uniform_in_their_logarithm(searchable: Callable[[str], SearchableProblem]) -> None:
    search = searchable("gpt2-each").search("nested").attempt
    assert isinstance(search, NestedMethod)
    n = len(search.problem.space)
    sizes = [search.draw_size() for _ in range(4000)]
    assert min(sizes) == 1
    assert n * 0.9 < max(sizes) <= n
    for bound in (2, 5, n // 4):  # P(size < bound) = log(bound) / log(n + 1)
        share = sum(size < bound for size in sizes) / len(sizes)
        assert share == pytest.approx(math.log(bound) / math.log(n + 1), abs=0.04)


def test_every_mask_it_trains_is_a_circuit(
    searchable: Callable[[str], SearchableProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is trained is what is deployed: masks of zeros and ones, of many sizes."""
    masks: list[Tensor] = []
    real = MaskedModel.logit_difference

    def seen(self: MaskedModel, mask: Tensor, batch: object) -> Tensor:
        masks.append(mask.detach().clone())
        return real(self, mask, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(MaskedModel, "logit_difference", seen)
    run_search(searchable("gpt2-each").search("nested"))
    assert len(masks) == 30
    assert all(set(mask.tolist()) <= {0.0, 1.0} for mask in masks)
    assert len({int(mask.sum()) for mask in masks}) > 10


def test_it_learns(searchable: Callable[[str], SearchableProblem]) -> None:
    """At every level far fewer nodes than in random order; the circuits on the way lie inside one another."""
    problem = searchable("llama-each")
    learned, _ = run_search(problem.search("nested", 0.9, steps=150))
    chance, _ = run_search(problem.search("random", 0.9))
    assert learned.reached
    assert 2 * len(learned.nodes) < len(chance.nodes)
    nested = problem.search("nested", 0.9, steps=150)
    offered = []
    offer = nested.attempt.offer
    nested.attempt.offer = lambda kept, value: (offered.append(kept.clone()), offer(kept, value))[1]  # type: ignore[method-assign]
    run_search(nested)
    ordered = sorted(offered, key=lambda kept: int(kept.sum()))
    assert all(bool((small <= large).all()) for small, large in pairwise(ordered))


def test_stopped_while_it_learns_it_still_returns_a_prefix_that_reaches(
    searchable: Callable[[str], SearchableProblem],
) -> None:
    problem = searchable("llama-each")
    search = problem.search("nested", 0.8, steps=200)
    for step in search:
        if step.step == 100:
            search.stop()
    result = search.result
    assert result is not None
    assert result.stopped
    assert result.reached
    assert len(result.nodes) < len(problem.problem.space) / 2
