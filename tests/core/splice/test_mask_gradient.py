"""The mask's gradient against finite differences and the oracle's; it never reaches weights or padding."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from naive import Naive
from tiny.gradients import check_gradient, gradient, mean_logit_difference, naive_mean, random_mask, splices
from tiny.models_with_saes import TinyModel
from tiny.problems import open_naive, open_problem
from tiny.tasks import TASKS

from circuit_tui.core.choices import ERRORS, ErrorsKind, PositionsKind
from circuit_tui.core.splice.splice import run_spliced

SHAPES = ("gpt2", "llama", "gemma2")
POSITIONS: tuple[tuple[PositionsKind, str], ...] = (
    ("each", "index"), ("each", "roles"), ("end", "mixed"), ("shared", "mixed"),
)  # fmt: skip
# A third of all combinations: every pair of values of any two choices occurs.
CASES = [
    (SHAPES[(p + e) % len(SHAPES)], *positions, errors)
    for (p, positions), (e, errors) in product(enumerate(POSITIONS), enumerate(ERRORS))
]


@pytest.mark.parametrize(("shape", "kind", "task", "errors"), CASES)
def test_gradient_is_that_of_plain_hooks(
    tiny_model: Callable[[str], TinyModel], shape: str, kind: PositionsKind, task: str, errors: ErrorsKind
) -> None:
    problem = open_problem(tiny_model(shape), TASKS[task], kind, errors=errors, batch_size=3)
    check_gradient(problem, open_naive(tiny_model(shape), problem), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "task"), [("each", "index"), ("shared", "equal-multi")])
def test_gradient_is_that_of_plain_hooks_where_references_are_drawn(
    tiny_model: Callable[[str], TinyModel], kind: PositionsKind, task: str
) -> None:
    problem = open_problem(tiny_model("gpt2"), TASKS[task], kind, "resample", batch_size=3)
    check_gradient(problem, open_naive(tiny_model("gpt2"), problem))


def test_gradient_is_that_of_finite_differences_in_float64(tiny_model: Callable[[str], TinyModel]) -> None:
    """The oracle in float64, moved a little along one node at a time."""
    opened = tiny_model("gpt2")
    problem = open_problem(opened, TASKS["roles"])
    naive = Naive(opened.folder, opened.sae_folders, problem.task, "each", "mean", "drop", dtype=torch.float64)
    mask, step = random_mask(problem).double(), 1e-6
    got = gradient(problem, mask.float())
    nodes = got.abs().argsort(descending=True)[:: max(1, len(got) // 24)]
    for node in nodes.tolist():
        shift = torch.zeros_like(mask)
        shift[node] = step
        with torch.no_grad():
            up, down = naive_mean(naive, problem, mask + shift), naive_mean(naive, problem, mask - shift)
        expected = float((up - down) / (2 * step))
        assert float(got[node]) == pytest.approx(expected, rel=1e-3, abs=1e-5), node


def test_gradient_agrees_with_the_engine_itself_moved_along_it(tiny_model: Callable[[str], TinyModel]) -> None:
    problem = open_problem(tiny_model("llama"), TASKS["mixed"], "shared")
    mask = random_mask(problem)
    grad = gradient(problem, mask)
    direction = grad / grad.norm()
    step = 1e-2
    with torch.no_grad():
        up = mean_logit_difference(problem, mask + step * direction)
        down = mean_logit_difference(problem, mask - step * direction)
    assert float((up - down) / (2 * step)) == pytest.approx(float(grad.norm()), rel=2e-2)


@pytest.mark.parametrize(("kind", "task"), [("each", "roles"), ("shared", "mixed")])
def test_bos_and_padding_pass_through_untouched(
    tiny_model: Callable[[str], TinyModel], kind: PositionsKind, task: str
) -> None:
    problem = open_problem(tiny_model("gpt2"), TASKS[task], kind)
    (batch,) = problem.batches("train")
    real = torch.arange(batch.prefix.shape[1]) < batch.lengths.unsqueeze(1)
    spliced = real.clone()
    spliced[:, 0] = False
    assert bool((~real).any())
    resid = torch.randn(batch.prefix.shape).requires_grad_()
    mask = random_mask(problem).requires_grad_()
    for splice in splices(problem, batch, mask):
        out = splice(resid, resid)
        assert torch.equal(out[~spliced], resid[~spliced])
        assert not bool((out[spliced] == resid[spliced]).all(-1).any())
        # The output at BOS and padding depends on the input there alone; the output elsewhere does not depend on it.
        (to_mask,) = torch.autograd.grad(out[~spliced].sum(), mask, retain_graph=True)
        assert not bool(to_mask.any())
        (to_resid,) = torch.autograd.grad(out[spliced].pow(2).sum(), resid, retain_graph=True)
        assert not bool(to_resid[~spliced].any())
        assert bool(to_resid[spliced].any())
        (through,) = torch.autograd.grad(out[~spliced].sum(), resid)
        assert torch.equal(through, (~spliced).unsqueeze(-1).expand_as(through).float())


def test_padding_changes_no_logit(tiny_model: Callable[[str], TinyModel]) -> None:
    problem = open_problem(tiny_model("gemma2"), TASKS["mixed"], "shared", errors="keep")
    (batch,) = problem.batches("test")
    mask = random_mask(problem)
    with torch.no_grad():
        before = run_spliced(problem.model, problem.sites, batch, splices(problem, batch, mask)).result()
        pad = torch.arange(batch.prefix.shape[1]) >= batch.lengths.unsqueeze(1)
        batch.prefix = torch.where(pad.unsqueeze(-1), 1e3 * torch.randn(batch.prefix.shape), batch.prefix)
        after = run_spliced(problem.model, problem.sites, batch, splices(problem, batch, mask)).result()
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", ["gpt2", "llama", "gemma2"])
def test_every_weight_is_frozen(tiny_model: Callable[[str], TinyModel], shape: str) -> None:
    problem = open_problem(tiny_model(shape), TASKS["roles"])
    mask = random_mask(problem).requires_grad_()
    mean_logit_difference(problem, mask).backward()  # type: ignore[no-untyped-call]
    weights = list(problem.model.bridge.parameters())
    weights += [weight for site in problem.sites for weight in site.sae.sae.parameters()]
    assert len(weights) > 20
    assert not any(weight.requires_grad or weight.grad is not None for weight in weights)
    assert not problem.model.bridge.training
    assert mask.grad is not None
