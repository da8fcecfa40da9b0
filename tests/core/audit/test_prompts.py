"""Held-out prompts, other templates, answers and errors: checked by the oracle, in closed form, and on bad circuits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny.audits import Oracle, audited_circuit, finding_of
from tiny.problems import names_of_nodes, random_circuit
from torch import Tensor

from circuit_tui.core.audit.measures import held_out, per_prompt
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.metrics import Baselines, PromptMetrics
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.splice.problem import Problem


def _metrics(logit_diff: Tensor) -> PromptMetrics:
    return PromptMetrics(logit_diff.float(), torch.zeros(len(logit_diff)), torch.zeros(len(logit_diff)))


def test_faithfulness_on_each_split_is_that_of_the_oracle(problem: Problem, oracle: Oracle) -> None:
    kept = random_circuit(problem, 0.5, 1)
    audited, nodes = audited_circuit(problem, kept), names_of_nodes(problem, kept)
    on_test, lost, unseen = (
        finding_of(measure(audited)) for measure in (held_out.held_out, held_out.overfit, held_out.unseen)
    )
    train, test, other = (oracle.faithfulness(split, nodes) for split in ("train", "test", "unseen"))
    assert on_test.numbers["faithfulness"] == pytest.approx(test, abs=1e-4)
    assert unseen.numbers["faithfulness"] == pytest.approx(other, abs=1e-4)
    assert lost.numbers["lost"] == pytest.approx(abs(1 - test) - abs(1 - train), abs=1e-4)


def test_an_interval_without_spread_is_a_point() -> None:
    draw = torch.Generator().manual_seed(0)
    plain, empty = torch.randn(50, generator=draw) + 4, torch.randn(50, generator=draw)
    baselines = Baselines(_metrics(plain), _metrics(plain), _metrics(empty))
    low, high = held_out.interval(baselines, _metrics(0.8 * plain + 0.2 * empty), 500, 0)
    assert (low, high) == pytest.approx((0.8, 0.8), abs=1e-5)


def test_the_interval_is_that_of_the_delta_method() -> None:
    """With many prompts, the bootstrap of a ratio r = a / b of means has variance var(a_i - r b_i) / (n mean(b)^2)."""
    draw = torch.Generator().manual_seed(1)
    plain, empty = torch.randn(2000, generator=draw) + 5, torch.randn(2000, generator=draw)
    circuit = 0.9 * plain + torch.randn(2000, generator=draw)
    baselines = Baselines(_metrics(plain), _metrics(plain), _metrics(empty))
    low, high = held_out.interval(baselines, _metrics(circuit), 4000, 0)
    above, below = (circuit - empty).double(), (plain - empty).double()
    ratio = above.mean() / below.mean()
    deviation = float((above - ratio * below).std() / (2000**0.5 * below.mean()))
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.08)
    assert (low + high) / 2 == pytest.approx(float(ratio), abs=0.2 * deviation)


def test_few_prompts_leave_doubt(problem: Problem) -> None:
    everything = torch.ones(len(problem.space), dtype=torch.bool)
    noisy = random_circuit(problem, 0.7, 3)
    sure, unsure = (finding_of(held_out.held_out(audited_circuit(problem, kept))) for kept in (everything, noisy))
    assert sure.verdict == "good"
    low, high = unsure.numbers["low"], unsure.numbers["high"]
    assert low is not None
    assert high is not None
    assert high - low > held_out.MAX_INTERVAL_WIDTH
    assert unsure.verdict in ("doubtful", "bad")


def _overfitted(problem: Problem, train: float, test: float) -> Tensor:
    """Returns the first random circuit that scores over `train` on search prompts and below `test` on held-out ones."""
    evaluators = Evaluator(problem, "train"), Evaluator(problem, "test")
    for seed in range(2000):
        kept = random_circuit(problem, 0.6, seed)
        first, second = (1 - abs(1 - evaluator.faithfulness(kept).result()) for evaluator in evaluators)
        if first >= train and second <= test:
            return kept
    raise AssertionError("no such circuit")


def test_an_overfitted_circuit_is_refused(problem: Problem) -> None:
    kept = _overfitted(problem, 0.93, 0.7)
    audited = audited_circuit(problem, kept)
    assert finding_of(held_out.overfit(audited)).verdict == "bad"
    assert finding_of(held_out.held_out(audited)).verdict in ("doubtful", "bad")


def test_no_other_template_is_not_measured(problem: Problem) -> None:
    audited = replace(audited_circuit(problem, random_circuit(problem, 0.5, 0)), unseen=None)
    assert finding_of(held_out.unseen(audited)).verdict == "not measured"


def test_a_task_that_the_model_cannot_do_is_refused(problem: Problem) -> None:
    """Right and wrong answers are exchanged on all prompts: the model answers all of them wrongly."""
    splits = {
        name: replace(split, answers=split.answers.swapped(torch.arange(len(split))))
        for name, split in problem.splits.items()
    }
    nonsense = replace(problem, splits=splits)
    assert finding_of(held_out.task(audited_circuit(problem, random_circuit(problem, 0.5, 0)))).verdict == "good"
    finding = finding_of(held_out.task(audited_circuit(nonsense, random_circuit(problem, 0.5, 0))))
    assert finding.verdict == "bad"
    assert finding.decides


def test_answers_and_errors_are_those_of_the_oracle(problem: Problem, oracle: Oracle) -> None:
    kept = random_circuit(problem, 0.4, 5)
    audited, nodes = audited_circuit(problem, kept), names_of_nodes(problem, kept)
    circuit, plain, empty = oracle.circuit("test", nodes), oracle.plain("test"), oracle.circuit("test", set())
    answers, errors = finding_of(per_prompt.answers(audited)).numbers, finding_of(per_prompt.errors(audited)).numbers
    assert answers["disagree"] == pytest.approx(float(((circuit > 0) != (plain > 0)).double().mean()))
    error = circuit - plain
    left = float(error.abs().mean() / (empty - plain).abs().mean())
    assert errors["per_prompt_faithfulness"] == pytest.approx(1 - left, abs=1e-4)
    low, high = torch.quantile(error, torch.tensor([0.25, 0.75]).double()).tolist()
    assert (errors["iqr_low"], errors["iqr_high"]) == pytest.approx((low, high), abs=1e-4)


def test_errors_that_cancel_are_seen(problem: Problem) -> None:
    """The circuit is perfect on average, and far off on every prompt."""
    audited = audited_circuit(problem, random_circuit(problem, 0.5, 0))
    plain = audited.test.baselines.plain.logit_diff
    swing = plain.abs().mean() * torch.tensor([1.0, -1.0]).repeat(len(plain))[: len(plain)]
    swing -= swing.mean()

    class Cancelling(Evaluator):
        @incremental
        def measure(self, kept: Tensor) -> Increments[PromptMetrics]:
            yield
            return _metrics(plain + swing)

    test = Cancelling(problem, "test")
    test.baselines = audited.test.baselines
    assert test.baselines.faithfulness(float((plain + swing).double().mean())) == pytest.approx(1, abs=1e-5)
    finding = finding_of(per_prompt.errors(replace(audited, test=test)))
    assert finding.verdict == "bad"
    assert finding.decides


def test_a_circuit_whose_errors_cancel_is_refused(problem: Problem) -> None:
    """The same with a real circuit: among many, one that is faithful on average but not prompt by prompt."""
    evaluator = Evaluator(problem, "test")
    most, least = evaluator.baselines.plain.logit_diff, evaluator.baselines.empty.logit_diff

    def left(kept: Tensor) -> float:
        return float((evaluator.measure(kept).result().logit_diff - most).abs().sum() / (least - most).abs().sum())

    seeds = [
        seed
        for seed in range(600)
        if abs(1 - evaluator.faithfulness(random_circuit(problem, 0.5, seed)).result()) < 0.08
    ]
    kept = max((random_circuit(problem, 0.5, seed) for seed in seeds), key=left)
    audited = audited_circuit(problem, kept)
    assert finding_of(per_prompt.errors(audited)).verdict == "bad"
    assert abs(1 - audited.test.faithfulness(kept).result()) < 0.08
