"""Hard-concrete gates against their formulas written out, one Lagrangian step by hand, and the sizes that come out."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from naive import Naive
from tiny.models_with_saes import TinyModel
from tiny.problems import open_naive
from tiny.searches import SearchableProblem, run_search
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.search.methods.hard_concrete import SizeLagrangian, expected_size, sample_gates


def gate(log_alpha: float, u: float) -> float:
    """Louizos et al. 2018, eqs. 10 and 11, with the constants of Edge Pruning."""
    s = 1 / (1 + math.exp(-(math.log(u) - math.log(1 - u) + log_alpha) / (2 / 3)))
    return min(1.0, max(0.0, s * 1.2 - 0.1))


def test_gates_are_those_of_the_formula() -> None:
    values, draws = [-6.0, -1.0, 0.0, 0.4, 5.0], [0.02, 0.3, 0.5, 0.77, 0.999]
    for u in draws:
        got = sample_gates(torch.tensor(values, dtype=torch.float64), torch.full((5,), u, dtype=torch.float64))
        assert got.tolist() == pytest.approx([gate(value, u) for value in values], abs=1e-9)


def test_the_expected_size_is_the_share_of_open_draws() -> None:
    log_alpha = torch.tensor([-3.0, -1.0, 0.0, 1.0])
    uniform = (torch.arange(20000).float() + 0.5) / 20000
    drawn = torch.stack([sample_gates(value.expand(20000), uniform) > 0 for value in log_alpha]).float().mean(1)
    for value, share in zip(log_alpha, drawn, strict=True):
        assert float(expected_size(value.reshape(1))) == pytest.approx(float(share), abs=1e-3)
    assert float(expected_size(log_alpha)) == pytest.approx(float(drawn.sum()), abs=1e-3)


def test_a_step_of_the_lagrangian_by_hand() -> None:
    """100 nodes at the start, 10 wanted, 8 steps, the first 4 of them warm-up."""
    lagrangian = SizeLagrangian(10, 100, 0.5, 8)
    size = torch.tensor(80.0, requires_grad=True)
    assert float(lagrangian.loss(torch.tensor(0.3), size).detach()) == pytest.approx(0.3), "the multipliers begin at 0"
    linear = quadratic = 0.0
    for step in range(6):
        log_wanted = math.log(100) + min(1, step / 4) * (math.log(10) - math.log(100))
        excess = math.log(80) - log_wanted
        loss = lagrangian.loss(torch.tensor(0.3), size)
        assert float(loss.detach()) == pytest.approx(0.3 + linear * excess + quadratic * excess**2, abs=1e-5)
        (slope,) = torch.autograd.grad(loss, size)
        assert float(slope) == pytest.approx((linear + 2 * quadratic * excess) / 80, abs=1e-6)
        lagrangian.ascend(80.0)
        linear, quadratic = linear + 0.5 * excess, quadratic + 0.5 * excess**2
    assert linear > 0


def naive_first_gradient(naive: Naive, searchable: SearchableProblem, uniform: Tensor) -> Tensor:
    """d error / d log alpha of the first step, all train prompts in the batch, by the oracle's forward pass."""
    problem = searchable.problem
    space, names, prompts = problem.space, problem.alignment.names, range(len(problem.task.split("train")))
    log_alpha = torch.full((len(space),), 2.0, requires_grad=True)
    s = torch.sigmoid((torch.log(uniform) - torch.log(1 - uniform) + log_alpha) / (2 / 3))
    gates = (s * 1.2 - 0.1).clamp(0, 1)

    def at(site: int, name: str) -> Tensor:
        here = (space.site == site) & (space.position == names.index(name))
        width = problem.sites[site].sae.d_sae
        return gates.new_zeros(width).index_put((space.latent[here],), gates[here])

    def difference(prompt: int, logits: Tensor) -> Tensor:
        pair = naive.task.split("train")[prompt]
        right, wrong = (naive.tokenizer.convert_tokens_to_ids(text.strip()) for text in (pair.answer, pair.wrong))
        return logits[right] - logits[wrong]

    plain = torch.stack([difference(p, naive.plain(naive.task.split("train")[p].clean)[0]) for p in prompts])
    empty = torch.stack([difference(p, naive.kept("train", p, set())) for p in prompts])
    error = torch.stack([difference(p, naive.masked("train", p, at)) for p in prompts]) - plain
    loss = (error.mean().abs() + 0.3 * error.abs().mean()) / abs(plain.mean() - empty.mean())
    (gradient,) = torch.autograd.grad(loss, log_alpha)
    return gradient


def test_the_first_step_is_that_of_a_plain_loop(
    tiny_model: Callable[[str], TinyModel], searchable: Callable[[str], SearchableProblem]
) -> None:
    """The multipliers are 0 at first: Adam's first step is lr against the sign of the error's gradient."""
    problem = searchable("gpt2-each")
    search = problem.search("hard-concrete", size=5, steps=2, batch=99, lr=0.05)
    generator = torch.Generator().manual_seed(0)
    torch.randperm(12, generator=generator)  # the order of the prompts is drawn first
    uniform = torch.rand(len(problem.problem.space), generator=generator)
    gradient = naive_first_gradient(open_naive(tiny_model("gpt2"), problem.problem), problem, uniform)
    next(search)
    after = torch.logit(search.masks.masks[0].double())
    clear = gradient.abs() > 1e-5
    assert int(clear.sum()) > 10
    torch.testing.assert_close(after[clear], 2 - 0.05 * gradient[clear].sign().double(), rtol=0, atol=2e-4)


@pytest.mark.parametrize("size", [1, 7, 30])
def test_the_size_asked_for_is_the_size_returned(searchable: Callable[[str], SearchableProblem], size: int) -> None:
    result, steps = run_search(searchable("llama-each").search("hard-concrete", size=size))
    assert len(result.nodes) == size
    assert sum(step.stage == "optimise" for step in steps) == 10


def test_it_learns(searchable: Callable[[str], SearchableProblem]) -> None:
    problem = searchable("llama-each")
    size = 20
    learned, _ = run_search(problem.search("hard-concrete", size=size, steps=150))
    kept = torch.zeros(len(problem.problem.space), dtype=torch.bool)
    chance = []
    for seed in range(20):
        drawn = kept.clone()
        drawn[torch.randperm(len(kept), generator=torch.Generator().manual_seed(seed))[:size]] = True
        chance.append(problem.score(drawn))
    assert 1 - abs(1 - learned.train.faithfulness) > max(chance) + 0.1


def test_without_a_size_it_looks_for_the_smallest_that_reaches(searchable: Callable[[str], SearchableProblem]) -> None:
    problem = searchable("llama-each")
    result, _ = run_search(problem.search("hard-concrete", 0.8, steps=60))
    assert result.reached
    smaller = [point for point in result.frontier if point.size < len(result.nodes)]
    assert smaller, "sizes below were tried"
    assert all(1 - abs(1 - point.train) < 0.8 for point in smaller)
    assert len(result.nodes) < len(problem.problem.space) / 2


def test_more_nodes_than_there_are(searchable: Callable[[str], SearchableProblem]) -> None:
    search = searchable("gpt2-each").search("hard-concrete", size=10**6)
    with pytest.raises(UserError, match="--set size=1000000: there are only"):
        next(search)
