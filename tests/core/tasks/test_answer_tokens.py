"""Answers of several tokens: every number against plain hooks, with a pass for each token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import cycle, product

import pytest
import torch
from tiny.compare import assert_circuits_agree
from tiny.gradients import check_gradient
from tiny.models_with_saes import TinyModel
from tiny.problems import open_naive, open_problem, random_circuit
from tiny.searches import QUICK, SearchableProblem, run_search
from tiny.solvable_task import solvable_task
from tiny.tasks import TASKS

from circuit_tui.core.audit.altered_problem import with_shuffled_labels, with_train_prompts
from circuit_tui.core.choices import AblationKind, ErrorsKind, PositionsKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.evaluation.metrics import PromptMetrics
from circuit_tui.core.search.judge import Judgement
from circuit_tui.core.splice.problem import Problem

POSITIONS: tuple[tuple[PositionsKind, str], ...] = (
    ("each", "index-multi"), ("each", "roles-multi"), ("end", "mixed-multi"), ("shared", "mixed-multi"),
)  # fmt: skip
WAYS: tuple[tuple[AblationKind, ErrorsKind], ...] = (
    ("mean", "drop"), ("clean-mean", "mean"), ("zero", "keep"),
)  # fmt: skip

SHAPES = ("gpt2", "llama", "gemma2")
# A third of all combinations: every pair of values of any two choices occurs.
CASES = [
    (SHAPES[(p + w) % len(SHAPES)], *positions, *way)
    for (p, positions), (w, way) in product(*map(enumerate, (POSITIONS, WAYS)))
]


@pytest.mark.parametrize(("shape", "kind", "task", "ablation", "errors"), CASES)
def test_a_circuit_measures_what_plain_hooks_measure(
    tiny_model: Callable[[str], TinyModel],
    shape: str,
    kind: PositionsKind,
    task: str,
    ablation: AblationKind,
    errors: ErrorsKind,
) -> None:
    problem = open_problem(tiny_model(shape), TASKS[task], kind, ablation, errors, batch_size=3)
    assert_circuits_agree(tiny_model(shape), Evaluator(problem, "test"), seed=0)


@pytest.mark.parametrize("kind", ["end", "shared"])
def test_both_answers_are_read_after_the_same_drawn_prompt(
    tiny_model: Callable[[str], TinyModel], kind: PositionsKind
) -> None:
    problem = open_problem(tiny_model("llama"), TASKS["equal-multi"], kind, "resample", batch_size=3)
    assert_circuits_agree(tiny_model("llama"), Evaluator(problem, "test"), seed=0)
    with pytest.raises(UserError, match="no corrupt train prompt has"):
        open_problem(tiny_model("llama"), TASKS["mixed-multi"], kind, "resample")


@pytest.mark.parametrize(("kind", "task"), POSITIONS)
def test_the_mask_s_gradient_is_that_of_plain_hooks(
    tiny_model: Callable[[str], TinyModel], kind: PositionsKind, task: str
) -> None:
    problem = open_problem(tiny_model("llama"), TASKS[task], kind, batch_size=3)
    expected = check_gradient(problem, open_naive(tiny_model("llama"), problem))
    behind = [name.startswith("answer") for name in problem.alignment.names]
    assert any(behind) == (kind != "shared")
    for position in range(problem.n_positions):
        assert bool(expected[problem.space.position == position].any())


@pytest.mark.parametrize(("kind", "task"), POSITIONS[1:])
def test_a_circuit_that_changes_is_that_of_a_fresh_evaluation(
    tiny_model: Callable[[str], TinyModel], kind: PositionsKind, task: str
) -> None:
    evaluator = Evaluator(open_problem(tiny_model("gpt2"), TASKS[task], kind, batch_size=2), "test")
    live = LiveCircuit(evaluator, random_circuit(evaluator.problem, 0.5, 0))
    for seed in range(1, 4):
        kept = random_circuit(evaluator.problem, 0.5, seed)
        live.advance_to(kept).result()
        same(live.measured, evaluator.measure(kept).result())
    node = int(kept.nonzero()[-1, 0])
    fewer = kept.clone()
    fewer[node] = False
    expected = evaluator.measure(fewer).result().mean_logit_diff
    assert live.evaluate_first_toggled([node]).result()[0] == pytest.approx(expected, abs=1e-5)


@pytest.fixture(scope="module")
def searched(tiny_model: Callable[[str], TinyModel]) -> SearchableProblem:
    return SearchableProblem.of(able_problem(tiny_model("gpt2"), "each"))


@pytest.mark.parametrize("method", QUICK)
def test_every_method_searches(searched: SearchableProblem, method: str) -> None:
    assert searched.problem.prompt_sets["train"].answers.rows_per_prompt == 2
    search = searched.search(method, 0.8)
    result, _ = run_search(search)
    kept = searched.circuit(result.nodes)
    fresh = Evaluator(searched.problem, "train").faithfulness(kept).result()
    assert result.train.faithfulness == pytest.approx(fresh, abs=1e-4)
    assert result.reached == search.attempt.score_reaches(Judgement.of_faithfulness(fresh).score)
    assert result.nodes
    if method in ("mask", "ig", "atp"):
        assert len(result.nodes) < len(kept)


def test_nonsense_is_meant_as_surely_as_the_task(tiny_model: Callable[[str], TinyModel]) -> None:
    problem = open_problem(tiny_model("gpt2"), TASKS["mixed-multi"], "shared")
    nonsense = with_shuffled_labels(problem, 1)
    own, other = (Evaluator(each, "test") for each in (problem, nonsense))
    torch.testing.assert_close(other.baselines.plain.logit_diff, own.baselines.plain.logit_diff, rtol=1e-5, atol=1e-5)
    turned = nonsense.splits["test"].answers.right != problem.splits["test"].answers.right
    assert 0 < int(turned.sum()) < len(turned)
    kept = random_circuit(problem, 0.5, 0)
    expected = own.measure(kept).result().logit_diff * (1 - 2 * turned.float())
    torch.testing.assert_close(other.measure(kept).result().logit_diff, expected, rtol=1e-5, atol=1e-5)


def test_prompts_drawn_anew_keep_their_answers(tiny_model: Callable[[str], TinyModel]) -> None:
    problem = open_problem(tiny_model("gpt2"), TASKS["mixed-multi"], "shared")
    drawn = torch.tensor([3, 0, 3, 5])
    resampled = with_train_prompts(problem, drawn)
    kept = random_circuit(problem, 0.5, 0)
    whole, part = (Evaluator(each, "train").measure(kept).result() for each in (problem, resampled))
    for name in ("logit_diff", "kl", "cross_entropy"):
        torch.testing.assert_close(getattr(part, name), getattr(whole, name)[drawn], rtol=1e-5, atol=1e-5)


def test_single_tokens_among_answers_of_several_are_scored_alike(tiny_model: Callable[[str], TinyModel]) -> None:
    """A pair of single tokens has the same numbers whether or not other pairs of its task have longer answers."""
    single = TASKS["mixed"]
    longer = replace(single, pairs=(*single.pairs, *(p for p in TASKS["mixed-multi"].pairs if p.split == "train")))
    alone, among = (
        Evaluator(open_problem(tiny_model("gpt2"), task, "shared", "zero"), "test") for task in (single, longer)
    )
    assert among.problem.prompt_sets["test"].answers.rows_per_prompt == 2
    for one, other in zip(baselines(alone), baselines(among), strict=True):
        same(one, other)


def able_problem(opened: TinyModel, kind: PositionsKind) -> Problem:
    """The model's own answers; the word that it predicts next comes after the right one, or before both."""
    task, words = solvable_task(opened, (6,) * 8, (6,) * 5), iter(cycle(("near", "by", "big")))
    pairs = []
    for index, pair in enumerate(task.pairs):
        if index % 3:
            pair = replace(pair, answer=f"{pair.answer} {next(words)}", wrong=f"{pair.wrong} {next(words)}")
        pairs.append(pair)
    return open_problem(opened, replace(task, pairs=tuple(pairs)), kind, errors="keep")


def baselines(evaluator: Evaluator) -> tuple[PromptMetrics, ...]:
    return evaluator.baselines.plain, evaluator.baselines.spliced, evaluator.baselines.empty


def same(one: PromptMetrics, other: PromptMetrics) -> None:
    for name in ("logit_diff", "kl", "cross_entropy"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-5, atol=1e-5)
