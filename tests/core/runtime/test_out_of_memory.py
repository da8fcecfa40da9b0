"""A full device, at every stage: the work goes on with half as many prompts and says so, or stops with one clear line.

The device refuses every pass of more than so many prompts, as a full card would.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny.audits import audited_circuit, with_unseen
from tiny.models_with_saes import TinyModel
from tiny.problems import open_problem, random_circuit
from tiny.searches import SearchableProblem, run_search, solvable_problem, with_candidates
from tiny.sessions import kept_of, make_session, request, settle, write_prompts
from tiny.solvable_task import solvable_task

from circuit_tui.core.audit.finding import Finding
from circuit_tui.core.audit.run import Audit
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.runtime.out_of_memory import is_out_of_memory
from circuit_tui.core.search.registry import METHODS
from circuit_tui.core.session.session import open_session
from circuit_tui.core.splice.problem import Problem

Limit = Callable[[int], None]


def full() -> RuntimeError:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


@pytest.fixture(scope="module")
def problem(tiny_model: Callable[[str], TinyModel]) -> Problem:
    return solvable_problem(tiny_model("gpt2"))


@pytest.fixture(scope="module")
def few(problem: Problem) -> Problem:
    """With few candidates, so that searches are short."""
    return with_candidates(problem, range(0, len(problem.space), 3))


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (full(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (MemoryError(), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: BaseException, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one


@pytest.mark.parametrize("part", ["model", "sae"])
def test_loading_stops_with_one_line(
    tiny_model: Callable[[str], TinyModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise full()

    tiny = tiny_model("gpt2")
    asked = request(tiny, write_prompts(solvable_task(tiny, (6,) * 6, (6,) * 4), tmp_path / "p.jsonl"))
    if part == "model":
        from transformer_lens.model_bridge import TransformerBridge

        monkeypatch.setattr(TransformerBridge, "boot_transformers", refuse)
    else:
        from sae_lens import SAE

        monkeypatch.setattr(SAE, "load_from_disk", refuse)
    with pytest.raises(UserError, match=rf"out of memory while loading {part if part == 'model' else 'SAEs'}.*--dtype"):
        open_session(asked)


def test_the_opening_passes_go_on_with_fewer_prompts(
    tiny_model: Callable[[str], TinyModel], tmp_path: Path, limit: Limit, caplog: pytest.LogCaptureFixture
) -> None:
    tiny = tiny_model("gpt2")
    asked = request(tiny, write_prompts(solvable_task(tiny, (6,) * 12, (6,) * 7), tmp_path / "p.jsonl"), errors="keep")
    expected = open_session(asked)
    limit(4)
    with caplog.at_level(logging.WARNING, "circuit_tui.user"):
        found = open_session(asked)
    told = [record.getMessage() for record in caplog.records if record.name == "circuit_tui.user"]
    assert told[:2] == [
        "Out of memory: running the model goes on with 6 prompts at a time.",
        "Out of memory: running the model goes on with 3 prompts at a time.",
    ]
    assert found.problem.batch_size == 3
    assert found.table.latent == expected.table.latent
    assert found.info.test.spliced.logit_diff == pytest.approx(expected.info.test.spliced.logit_diff, abs=1e-5)


def test_opening_that_fits_with_no_number_of_prompts_stops_with_one_line(
    tiny_model: Callable[[str], TinyModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = tiny_model("gpt2")
    asked = request(tiny, write_prompts(solvable_task(tiny, (6,) * 6, (6,) * 4), tmp_path / "p.jsonl"))

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise full()

    monkeypatch.setattr("circuit_tui.core.splice.problem.plain_pass", refuse)
    with pytest.raises(UserError, match="does not fit even with one prompt at a time"):
        open_session(asked)


def test_a_toggle_and_what_can_wait_go_on_with_fewer_prompts(
    problem: Problem, limit: Limit, caplog: pytest.LogCaptureFixture
) -> None:
    easy, hard = make_session(problem), make_session(problem)
    for session in (easy, hard):
        session.only(range(0, len(session.table), 8))
    limit(2)
    with caplog.at_level(logging.WARNING, "circuit_tui.user"):
        hard.toggle_node(1)
    assert "evaluating on test prompts goes on with 1 prompt at a time" in caplog.text
    settle(hard)
    assert "evaluating on train prompts goes on" in caplog.text
    limit(10**9)
    easy.toggle_node(1)
    settle(easy)
    for step in (lambda s: None, lambda s: s.undo(), lambda s: s.toggle_site(1)):
        for session in (easy, hard):
            step(session)
            settle(session)
        assert kept_of(hard).equal(kept_of(easy))
        for name in ("faithfulness", "completeness", "kl"):
            assert getattr(hard.view().test, name) == pytest.approx(getattr(easy.view().test, name), abs=1e-5)
        assert hard.view().effect == pytest.approx(easy.view().effect, abs=1e-5)


def test_a_live_circuit_that_shares_its_evaluator_follows(problem: Problem, limit: Limit) -> None:
    evaluator = Evaluator(problem, "train")
    half = torch.arange(len(problem.space)) % 2 == 0
    first, second = LiveCircuit(evaluator, half), LiveCircuit(evaluator, half)
    expected = first.evaluate_first_toggled([2]).result()[0]
    limit(5)
    assert first.evaluate_first_toggled([2]).result()[0] == pytest.approx(expected, abs=1e-5)
    assert second.evaluate_first_toggled([2]).result()[0] == pytest.approx(expected, abs=1e-5)
    prompt = int(evaluator.prompts[-1])
    assert torch.allclose(first.sae_input(1, prompt), second.sae_input(1, prompt), atol=1e-5)


@pytest.mark.parametrize(
    ("method", "stage"),
    [*((method, "from the start") for method in METHODS), ("mask", "half way"), ("published", "half way")],
)
def test_a_search_goes_on_with_fewer_prompts(
    few: Problem, limit: Limit, caplog: pytest.LogCaptureFixture, tmp_path: Path, method: str, stage: str
) -> None:
    searched = SearchableProblem.of(few)
    search = SearchableProblem.of(few).search(method, 0.8)
    search.keep(tmp_path)
    if stage == "half way":
        for _ in range(20):
            next(search)
        search.save()
    limit(3)
    with caplog.at_level(logging.WARNING, "circuit_tui.user"):
        result, _ = run_search(search)
    assert "Out of memory" in caplog.text
    assert result.nodes
    assert not result.stopped
    limit(10**9)
    assert result.train.faithfulness == pytest.approx(
        searched.train.faithfulness(searched.circuit(result.nodes)).result(), abs=1e-4
    )


def test_a_step_that_needs_memory_keeps_the_steps_before_it(few: Problem, limit: Limit, tmp_path: Path) -> None:
    search = SearchableProblem.of(few).search("mask", 0.8)
    search.keep(tmp_path)
    for _ in range(12):
        last = next(search)
    search.save()
    limit(3)
    assert next(search).step == last.step + 1, "from where it was saved"
    search.stop()
    result, _ = run_search(search)
    assert "Memory ran out: the search went on with at most" in result.warnings[0]


def test_a_search_that_never_fits_stops_with_one_line(problem: Problem, limit: Limit) -> None:
    search = SearchableProblem.of(problem).search("mask", 0.8)
    limit(0)
    with pytest.raises(UserError, match=r"the search \(mask\) does not fit even with one prompt"):
        run_search(search)


def test_other_errors_are_not_taken_for_a_full_device(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    search = SearchableProblem.of(problem).search("mask", 0.8)

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(LanguageModel, "run_blocks", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        next(search)


def test_an_audit_goes_on_with_fewer_prompts(tiny_model: Callable[[str], TinyModel], limit: Limit) -> None:
    tiny = tiny_model("gpt2")
    opened = open_problem(tiny, with_unseen(solvable_task(tiny, (6,) * 8, (6,) * 10)), errors="keep")
    kept = random_circuit(opened, 0.5, 0)
    lines = {"task", "held-out", "unseen", "averaging", "distribution", "completeness", "ablation"}
    few = {"bootstraps": 20, "subsets": 1, "draws": 1, "random_circuits": 2, "pairs": 2}

    def audit() -> dict[str, Finding]:
        audit = Audit(audited_circuit(opened, kept, **few))
        for _ in audit:
            if lines <= {finding.key for finding in audit.result.findings}:
                break
        return {finding.key: finding for finding in audit.result.findings if finding.key in lines}

    expected = audit()
    assert expected.keys() == lines
    limit(3)
    for key, found in audit().items():
        assert found.verdict == expected[key].verdict, key
        assert found.numbers == pytest.approx(expected[key].numbers, abs=1e-4), key
