"""An audit that was cut off anywhere goes on to the same findings, and no finished search is made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny.audited import audited
from tiny.opened import random_circuit
from tiny.searched import among

from circuit_tui.core.audit.audit_log import AuditLog
from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.lines import LINES
from circuit_tui.core.audit.run import Audit
from circuit_tui.core.audit.texts import text_sha256
from circuit_tui.core.jobs import resumable_work
from circuit_tui.core.search.search import Search
from circuit_tui.core.splice.problem import Problem

FEW: dict[str, Any] = {"bootstraps": 50, "subsets": 1, "draws": 1, "random_circuits": 3, "pairs": 2}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(resumable_work, "SAVE_EVERY", 0.0)
    return tmp_path / "circuit-tui" / "unfinished"


@pytest.fixture(scope="module")
def subject(problem: Problem) -> AuditedCircuit:
    small = among(problem, list(range(0, len(problem.space), 12)))
    return audited(small, random_circuit(small, 0.5, 0), "mask", 0.3, seeds=2, resamplings=2, **FEW)


@pytest.fixture(scope="module")
def finished(subject: AuditedCircuit) -> tuple[Audit, int]:
    """The audit without an interruption, and in how many steps."""
    auditing = Audit(subject)
    return auditing, len(list(auditing))


@pytest.fixture
def whole(finished: tuple[Audit, int]) -> Audit:
    return finished[0]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of the searches begun from now on."""
    seeds: list[int] = []
    real = Search.__init__

    def counted(self: Search, *given: Any, **named: Any) -> None:
        real(self, *given, **named)
        seeds.append(self.spec.seed)

    monkeypatch.setattr(Search, "__init__", counted)
    return seeds


def _kept(subject: AuditedCircuit) -> AuditedCircuit:
    return replace(subject, log=AuditLog({"of": "this test"}))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_it_goes_on_where_it_was_cut_off(
    subject: AuditedCircuit, finished: tuple[Audit, int], state: Path, begun: list[int], share: float
) -> None:
    whole, all_steps = finished
    auditing = Audit(_kept(subject))
    steps = next(number for number, step in enumerate(auditing, 1) if step.share >= share)
    cut, searched = len(auditing.findings), len(begun) - 1
    auditing.leave()  # the lock alone is what the end of a process would take
    begun.clear()
    again = Audit(_kept(subject))
    assert again.taken_up == cut
    left = len(list(again))
    assert again.result.findings == whole.result.findings
    assert again.result.finished
    searches = sum(len(line.searches(subject.settings)) for line in LINES)
    assert len(begun) == searches - max(0, searched)
    assert left < all_steps - steps / 2
    again.done()
    again.leave()
    assert not list(state.iterdir())


def test_half_a_line_is_cut_off_and_measured_again(subject: AuditedCircuit, whole: Audit, state: Path) -> None:
    auditing = Audit(_kept(subject))
    while len(auditing.findings) < 3:
        next(auditing)
    auditing.leave()
    (folder,) = state.iterdir()
    path = folder / "measured.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[: -len(data) // 6])
    again = Audit(_kept(subject))
    assert 0 < again.taken_up < 3
    while len(again.findings) < 5:
        next(again)
    again.leave()
    assert Audit(_kept(subject)).taken_up == 5
    assert again.findings == whole.findings[:5]


def test_another_text_asks_for_its_own_line_alone(subject: AuditedCircuit, state: Path, tmp_path: Path) -> None:
    def measured(words: str) -> Audit:
        path = tmp_path / "words.txt"
        path.write_text(words)
        settings = replace(subject.settings, text=path, seeds=0, resamplings=0, shuffles=0)
        kept = AuditLog({"of": "this test"}, text_sha256(path))
        auditing = Audit(replace(subject, settings=settings, log=kept))
        before = auditing.taken_up
        for _ in auditing:
            pass
        auditing.leave()
        assert before == expected
        return auditing

    expected = 0
    first = measured("w1 w2 w3 w4")
    expected = len(LINES)
    assert measured("w1 w2 w3 w4").findings == first.findings
    expected = len(LINES) - 1
    second = measured("w4 w5")
    differ = [one.key for one, other in zip(first.findings, second.findings, strict=True) if one != other]
    assert differ == ["splice-text"]


def test_of_something_else_nothing_is_taken_up(subject: AuditedCircuit, state: Path) -> None:
    auditing = Audit(_kept(subject))
    while len(auditing.findings) < 3:
        next(auditing)
    auditing.leave()
    assert Audit(replace(subject, log=AuditLog({"of": "another"}))).taken_up == 0
