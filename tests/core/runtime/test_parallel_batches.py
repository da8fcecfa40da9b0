"""Batches run at once: the same numbers to the last bit, in the same order, and nothing left running."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny.models_with_saes import TinyModel, TinySae, build_model_with
from tiny.problems import open_problem, random_circuit
from tiny.tasks import TASKS

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.evaluation.metrics import PromptMetrics
from circuit_tui.core.runtime import parallel_batches
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.runtime.parallel_batches import MOST_PARALLEL, fit_threads, interleaved, run_in_threads
from circuit_tui.core.splice.problem import Problem, separable

SITES = (TinySae("blocks.0.hook_resid_post", "standard"), TinySae("blocks.1.hook_resid_post", "jumprelu"))
SHAPES = ("gpt2", "llama", "gemma2", "gemma3", "neox", "qwen3")


@incremental
def counting(value: int, increments: int) -> Increments[int]:
    for _ in range(increments):
        yield
    return value


@given(increments=st.lists(st.integers(0, 4), max_size=6), n_parallel=st.integers(1, 4))
def test_values_come_in_order_and_a_round_takes_as_long_as_its_longest(increments: list[int], n_parallel: int) -> None:
    values = list[int]()

    def run() -> Generator[None, None, None]:
        values.extend(
            (yield from interleaved([counting(number, n) for number, n in enumerate(increments)], n_parallel))
        )

    taken = len(list(run()))
    assert values == list(range(len(increments)))
    assert taken == sum(
        max(increments[start : start + n_parallel]) + 1 for start in range(0, len(increments), n_parallel)
    )


def test_each_has_a_thread_of_its_own_and_the_gradient_mode_of_the_caller() -> None:
    together = threading.Barrier(3, timeout=30)

    def look() -> tuple[int, bool]:
        together.wait()
        return threading.get_ident(), torch.is_grad_enabled()

    for gradient in (True, False):
        with torch.set_grad_enabled(gradient):
            seen = run_in_threads([look] * 3)
        assert len({ident for ident, _ in seen}) == 3
        assert seen[0][0] == threading.get_ident()
        assert {mode for _, mode in seen} == {gradient}


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_is_raised_when_nothing_runs_any_more(failing: int) -> None:
    failed, ended = threading.Event(), list[int]()

    def run(number: int) -> None:
        if number == failing:
            failed.set()
            raise MemoryError
        assert failed.wait(30)
        ended.append(number)

    with pytest.raises(MemoryError):
        run_in_threads([partial(run, number) for number in range(2)])
    assert ended == [1 - failing]


def asked(problem: Problem, n_parallel: int) -> list[PromptMetrics | float]:
    """What an evaluator in batches of two prompts and a circuit followed on it answer."""
    evaluator = Evaluator(replace(problem, n_parallel=n_parallel), "train", size=2)
    first, second = random_circuit(problem, 0.5, 1), random_circuit(problem, 0.5, 2)
    live = LiveCircuit(evaluator, first)
    answers: list[PromptMetrics | float] = [
        live.evaluate_first_alternatives(second[None]).result()[0],
        evaluator.faithfulness(first).result(),
    ]
    live.advance_to(second).result()
    answers += [live.measured, live.evaluate_first_toggled([int(second.nonzero()[-1, 0])]).result()[0]]
    answers += [
        evaluator.measure(second).result(),
        evaluator.measure_removed(second).result(),
        evaluator.baselines.spliced,
    ]
    return answers


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("task", ["roles", "mixed"])
def test_two_at_once_answer_as_one_after_the_other(shape: str, task: str, tmp_path: Path) -> None:
    tiny_model = build_model_with(shape, tmp_path, SITES)
    problem = open_problem(tiny_model, TASKS[task], "shared" if task == "mixed" else "each")
    assert len(Evaluator(problem, "train", size=2).batches) > 2
    problem.model.recordings.right_padded.clear()  # what no pass has recorded yet one thread must record alone
    for got, expected in zip(asked(problem, 3), asked(problem, 1), strict=True):
        if isinstance(got, PromptMetrics) and isinstance(expected, PromptMetrics):
            for name in ("logit_diff", "kl", "cross_entropy"):
                assert torch.equal(getattr(got, name), getattr(expected, name)), name
        else:
            assert got == expected


def test_cores_that_a_small_model_leaves_over_run_other_batches(
    tiny_model: Callable[[str], TinyModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = open_problem(tiny_model("gpt2"), TASKS["index"])
    model, before = problem.model, torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def fit() -> int:
        return fit_threads(model.device, model.d_model, 10, separable=separable(model, problem.sites))

    try:
        monkeypatch.setattr(parallel_batches, "_threads_at_first", lambda: 2)
        assert fit() == 2
        assert torch.get_num_threads() == 1
        monkeypatch.setattr(parallel_batches, "_threads_at_first", lambda: 64)
        assert fit() == MOST_PARALLEL
        monkeypatch.setattr(model, "padding_side", "left")
        assert fit() == 1
        monkeypatch.setattr(model, "padding_side", "right")
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert fit() == 1
    finally:
        torch.set_num_threads(before)
