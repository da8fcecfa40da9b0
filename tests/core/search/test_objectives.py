"""Objectives, several ablations and templates: their values are the oracle's, and a search holds all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from statistics import mean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive import Naive, Node
from tiny.models_with_saes import TinyModel
from tiny.problems import names_of_nodes, open_naive, open_problem, random_circuit
from tiny.searches import QUICK, SearchableProblem, run_search
from tiny.solvable_task import solvable_task
from torch import Tensor

from circuit_tui.core.choices import OBJECTIVES, AblationKind, ObjectiveKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.condition_losses import score_gradient
from circuit_tui.core.search.judge import Judge, Judgement
from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.search.objectives import Objective, parse_objectives
from circuit_tui.core.search.open_search import open_search
from circuit_tui.core.search.quantities import measured_quantity, quantity
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem

EVERY = tuple(Objective(kind, 0.7) for kind in OBJECTIVES if kind != "accuracy")  # here the empty circuit has M's
OTHERS: tuple[AblationKind, ...] = ("zero", "resample", "clean-mean")


@pytest.fixture(scope="module")
def tiny(tiny_model: Callable[[str], TinyModel]) -> TinyModel:
    return tiny_model("gpt2")


@pytest.fixture(scope="module")
def problem(tiny: TinyModel) -> Problem:
    return open_problem(tiny, solvable_task(tiny, (6,) * 10, (6,) * 6), "shared", errors="keep")


def oracle_value(naive: Naive, kind: ObjectiveKind, nodes: set[Node]) -> float:
    """The value of an objective on the train prompts, from single passes of the oracle."""
    n = len(naive.task.split("train"))
    runs = {
        "plain": [naive.measure("train", prompt, naive.unspliced("train", prompt)) for prompt in range(n)],
        "circuit": [naive.measure("train", prompt, naive.kept("train", prompt, nodes)) for prompt in range(n)],
        "empty": [naive.measure("train", prompt, naive.kept("train", prompt, set())) for prompt in range(n)],
    }

    def average(run: str) -> float:
        return mean(
            {
                "logit-diff": one[0],
                "kl": -one[1],
                "prob": math.exp(-one[2]),
                "accuracy": float(one[0] > 0),
                "per-prompt": -abs(one[0] - plain[0]),
            }[kind]
            for one, plain in zip(runs[run], runs["plain"], strict=True)
        )

    return (average("circuit") - average("empty")) / (average("plain") - average("empty"))


def test_the_values_are_those_of_the_oracle_under_every_ablation(tiny: TinyModel, problem: Problem) -> None:
    judge = Judge(SearchSpec("mask", 0.7, 0, {}, EVERY, OTHERS), Evaluator(problem, "train"))
    judge.prepare().result()
    kept = random_circuit(problem, 0.5, 1)
    found = judge.judge(kept).result()
    assert len(found.values) == len(EVERY) * (1 + len(OTHERS))
    for condition, value in zip(judge.conditions, found.values, strict=True):
        other = open_problem(
            tiny, problem.task, problem.alignment.kind, condition.ablation, errors="keep", seed=0
        )  # the judge draws with seed 0
        expected = oracle_value(open_naive(tiny, other), condition.objective.kind, names_of_nodes(problem, kept))
        assert value == pytest.approx(expected, abs=2e-3), condition
    assert found.faithfulness == pytest.approx(found.values[0])
    assert found.score == pytest.approx(1 - max(abs(1 - value) for value in found.values))


def test_an_objective_that_the_empty_circuit_reaches_is_refused(problem: Problem) -> None:
    spec = SearchSpec("mask", 0.7, 0, {}, (Objective("accuracy", 0.7),))
    on = SearchableProblem.of(problem)
    search = open_search(problem, on.train, on.test, spec)
    with pytest.raises(UserError, match="--objective accuracy under mean: the empty circuit does as the model does"):
        next(search)


@given(
    values=st.lists(st.floats(-1, 3), min_size=2, max_size=2),
    targets=st.lists(st.sampled_from([0.3, 0.75, 0.9, 0.95]), min_size=2, max_size=2),
)
def test_a_score_is_at_the_target_where_every_condition_is(values: list[float], targets: list[float]) -> None:
    held = (Objective("logit-diff", targets[0]), Objective("kl", targets[1]))
    judge = Judge.__new__(Judge)
    judge.conditions = []
    judge.spec = SearchSpec("mask", targets[0], 0, {}, held)
    allowed = torch.tensor([1 - each.target for each in held], dtype=torch.float64)
    judge.scale = (1 - targets[0]) / allowed
    found = judge.of_values(0.0, torch.tensor(values, dtype=torch.float64))
    margin = min(1 - each.target - abs(1 - value) for each, value in zip(held, values, strict=True))
    if abs(margin) > 1e-9:
        assert (found.score >= targets[0]) == (margin > 0)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_quantity_is_that_of_a_measured_run_and_its_gradient_is_right(problem: Problem, kind: ObjectiveKind) -> None:
    evaluator = Evaluator(problem, "train")
    (batch,) = evaluator.batches
    plain = problem.splits["train"].plain_logits[batch.reads]
    noise = torch.randn(plain.shape, generator=torch.Generator().manual_seed(0))
    logits = (plain + noise).double().requires_grad_()
    found = quantity(kind, logits, plain.double(), batch.answers)
    measured = evaluator.measure(torch.zeros(len(problem.space), dtype=torch.bool)).result()
    evaluator.fill(measured, batch, logits.detach().float())
    expected = measured_quantity(kind, measured, evaluator.baselines.plain)
    if kind == "accuracy":  # the stand-in is on the side of the answer
        assert torch.equal(found.detach() > 0.5, expected > 0.5)
    else:
        torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=1e-5)
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    step = 1e-6
    with torch.no_grad():
        ahead, behind = (
            quantity(kind, logits + sign * step * direction, plain.double(), batch.answers).sum() for sign in (1, -1)
        )
    assert float((gradient * direction).sum()) == pytest.approx(float(ahead - behind) / (2 * step), rel=1e-4, abs=1e-7)


def test_the_gradient_of_a_score_is_that_of_its_worst_condition(problem: Problem) -> None:
    spec = SearchSpec("mask", 0.9, 0, {}, (Objective("kl", 0.9),), ("zero",))
    judge = Judge(spec, Evaluator(problem, "train"))
    judge.prepare().result()
    kept = random_circuit(problem, 0.6, 2)
    masked = MaskedModel(problem, torch.arange(len(problem.space)))
    # A judgement by which ``zero`` alone counts.
    gradient = score_gradient(masked, judge, Judgement(0.5, 0.0, (1.0, 0.0)), kept)
    zero = judge.evaluators[1]
    gap = float(-(zero.baselines.plain.kl - zero.baselines.empty.kl).double().mean())

    def value(mask: Tensor) -> float:
        with torch.no_grad():
            plain, total = zero.problem.splits["train"].plain_logits, 0.0
            for batch in zero.batches:
                logits = masked.logits(mask, batch)
                total += float(quantity("kl", logits, plain[batch.reads], batch.answers).double().sum())
        return total / len(zero) / gap

    for node in kept.nonzero()[:4, 0].tolist():
        around = []
        for step in (2e-3, -2e-3):
            mask = kept.float()
            mask[node] += step
            around.append(value(mask))
        assert float(gradient[node]) == pytest.approx((around[0] - around[1]) / 4e-3, rel=0.02, abs=1e-3)


@pytest.fixture(scope="module")
def held(problem: Problem) -> Search:
    on = SearchableProblem.of(problem)
    objectives = (Objective("logit-diff", 0.8), Objective("kl", 0.6))
    spec = SearchSpec("mask", 0.8, 0, QUICK["mask"], objectives, ("zero", "resample"), 0.05)
    search = open_search(problem, on.train, on.test, spec)
    run_search(search)
    return search


def test_a_circuit_reaches_every_objective_under_every_ablation(
    tiny: TinyModel, problem: Problem, held: Search
) -> None:
    result = held.result
    assert result is not None
    assert result.reached
    assert [(one.kind, one.ablation) for one in result.held] == [
        (kind, ablation) for ablation in ("mean", "zero", "resample") for kind in ("logit-diff", "kl")
    ]
    nodes = SearchableProblem.of(problem).circuit(result.nodes)
    for one in result.held:
        other = open_problem(tiny, problem.task, problem.alignment.kind, one.ablation, errors="keep", seed=0)
        value = oracle_value(open_naive(tiny, other), one.kind, names_of_nodes(problem, nodes))
        assert one.train == pytest.approx(value, abs=2e-3)
        assert one.target == pytest.approx({"logit-diff": 0.8, "kl": 0.6}[one.kind] - 0.05 * (one.ablation != "mean"))
        assert value >= one.target - 2e-3
        assert one.test is not None


def test_no_node_of_it_can_go(held: Search) -> None:
    result = held.result
    assert result is not None
    kept = held.circuit(len(result.nodes))
    assert kept is not None
    for node in result.nodes:
        less = kept.kept.clone()
        less[node] = False
        assert not held.attempt.score_reaches(held.attempt.judge.judge(less).result().score)


@pytest.mark.parametrize("method", ["atp", "published"])
def test_circuits_of_other_methods_are_judged_by_all_of_it(problem: Problem, method: str) -> None:
    on = SearchableProblem.of(problem)
    spec = SearchSpec(method, 0.8, 0, QUICK[method], (Objective("logit-diff", 0.8), Objective("kl", 0.6)), ("zero",))
    search = open_search(problem, on.train, on.test, spec)
    result, _ = run_search(search)
    judge = Judge(spec, on.train)
    judge.prepare().result()
    found = judge.judge(on.circuit(result.nodes)).result()
    assert [one.train for one in result.held] == pytest.approx(list(found.values))
    assert result.reached == all(one.reached for one in result.held) == (found.score >= 0.8)
    missed = "conditions were not reached on the search prompts" in " ".join(result.warnings)
    assert missed is not result.reached


def test_a_stored_spec_is_the_same_search() -> None:
    spec = SearchSpec("mask", 0.8, 3, {}, (Objective("kl", 0.8), Objective("prob", 0.7)), ("zero",), 0.1, True)
    assert SearchSpec.from_data(spec.data()) == spec
    assert not {"objectives", "ablations", "templates"} & set(SearchSpec("mask", 0.8, 3).data())


def test_the_worst_template_counts(problem: Problem) -> None:
    train = Evaluator(problem, "train")
    spec = SearchSpec("mask", 0.8, 0, {}, (), (), templates=True)
    first = torch.arange(len(train)) < 6
    judge = Judge(spec, train, {"template 1": first, "template 2": ~first})
    judge.prepare().result()
    kept = random_circuit(problem, 0.7, 3)
    measured, baselines = train.measure(kept).result(), train.baselines
    values = []
    for prompts in (first, ~first):
        circuit, plain, empty = (
            each.logit_diff[prompts].double().mean() for each in (measured, baselines.plain, baselines.empty)
        )
        values.append(float((circuit - empty) / (plain - empty)))
    found = judge.judge(kept).result()
    assert found.values == pytest.approx(values)
    assert found.score == pytest.approx(1 - max(abs(1 - value) for value in values))


def test_templates_are_prompts_with_the_same_roles(tiny: TinyModel, problem: Problem) -> None:
    task = solvable_task(tiny, (6,) * 40, (6,) * 6)
    pairs = tuple(
        replace(pair, roles=tuple(f"w{(k + number % 2) % 6}" for k in range(len(pair.clean.split()))))
        for number, pair in enumerate(task.pairs)
    )
    shared = open_problem(tiny, replace(task, pairs=pairs), "shared", errors="keep")
    judge = Judge(SearchSpec("mask", 0.8, 0, templates=True), Evaluator(shared, "train"))
    masks = judge.template_masks
    assert len(masks) == 2
    assert torch.equal(masks[0], ~masks[1])
    assert {int(mask.sum()) for mask in masks} == {20}
    assert len(Judge(SearchSpec("mask", 0.8, 0, templates=True), Evaluator(problem, "train")).template_masks) == 1


@pytest.mark.parametrize(
    ("names", "targets", "says"),
    [
        ("logit-dif", [], "--objective logit-dif: unknown; did you mean logit-diff?"),
        ("kl,kl", [], "--objective kl,kl: kl is named twice"),
        (None, ["kl=0.2"], "--target kl=0.2: kl is not an objective here; they are logit-diff"),
        ("logit-diff,kl", ["kl=1"], "--target kl=1: must lie between 0 and 1"),
        ("logit-diff,kl", ["kl=x"], "--target kl=x: not a number"),
        ("logit-diff,kl", ["kl=0.5,kl=0.6"], "--target kl=0.6: kl has a target already"),
    ],
)
def test_flags_that_make_no_sense_are_refused(names: str | None, targets: list[str], says: str) -> None:
    with pytest.raises(UserError) as error:
        parse_objectives(names, targets)
    assert str(error.value).startswith(says)


def test_a_bare_target_is_that_of_the_first_objective() -> None:
    found = parse_objectives("kl,logit-diff", ["0.7,logit-diff=0.8"])
    assert found == (Objective("kl", 0.7), Objective("logit-diff", 0.8))
