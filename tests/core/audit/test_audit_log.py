"""An audit that was cut off goes on to the same findings, and no finished search is made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny.audits import audited_circuit
from tiny.problems import random_circuit
from tiny.searches import with_candidates

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
def audited(problem: Problem) -> AuditedCircuit:
    small = with_candidates(problem, list(range(0, len(problem.space), 12)))
    return audited_circuit(small, random_circuit(small, 0.5, 0), "nested", 0.3, seeds=2, resamplings=2, **FEW)


@pytest.fixture(scope="module")
def finished(audited: AuditedCircuit) -> tuple[Audit, int]:
    """The audit without an interruption, and its number of steps."""
    audit = Audit(audited)
    return audit, len(list(audit))


@pytest.fixture
def whole(finished: tuple[Audit, int]) -> Audit:
    return finished[0]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of the searches that the test begins."""
    seeds: list[int] = []
    real = Search.__init__

    def counted(self: Search, *given: Any, **named: Any) -> None:
        real(self, *given, **named)
        seeds.append(self.spec.seed)

    monkeypatch.setattr(Search, "__init__", counted)
    return seeds


def _logged(audited: AuditedCircuit) -> AuditedCircuit:
    return replace(audited, log=AuditLog({"of": "this test"}))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_it_goes_on_where_it_was_cut_off(
    audited: AuditedCircuit, finished: tuple[Audit, int], state: Path, begun: list[int], share: float
) -> None:
    whole, all_steps = finished
    audit = Audit(_logged(audited))
    steps = next(number for number, step in enumerate(audit, 1) if step.share >= share)
    cut, searched = len(audit.findings), len(begun) - 1
    audit.leave()  # the end of a process would release the lock alone
    begun.clear()
    again = Audit(_logged(audited))
    assert again.n_resumed_lines == cut
    left = len(list(again))
    assert again.result.findings == whole.result.findings
    assert again.result.finished
    searches = sum(len(line.searches(audited.settings)) for line in LINES)
    assert len(begun) == searches - max(0, searched)
    assert left < all_steps - steps / 2
    again.done()
    again.leave()
    assert not list(state.iterdir())


def test_half_a_line_is_cut_off_and_measured_again(audited: AuditedCircuit, whole: Audit, state: Path) -> None:
    audit = Audit(_logged(audited))
    while len(audit.findings) < 3:
        next(audit)
    audit.leave()
    (folder,) = state.iterdir()
    path = folder / "measured.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[: -len(data) // 6])
    again = Audit(_logged(audited))
    assert 0 < again.n_resumed_lines < 3
    while len(again.findings) < 5:
        next(again)
    again.leave()
    assert Audit(_logged(audited)).n_resumed_lines == 5
    assert again.findings == whole.findings[:5]


def test_another_text_asks_for_its_own_line_alone(audited: AuditedCircuit, state: Path, tmp_path: Path) -> None:
    def measured(words: str) -> Audit:
        path = tmp_path / "words.txt"
        path.write_text(words)
        settings = replace(audited.settings, text=path, seeds=0, resamplings=0, shuffles=0)
        kept = AuditLog({"of": "this test"}, text_sha256(path))
        audit = Audit(replace(audited, settings=settings, log=kept))
        before = audit.n_resumed_lines
        for _ in audit:
            pass
        audit.leave()
        assert before == expected
        return audit

    expected = 0
    first = measured("w1 w2 w3 w4")
    expected = len(LINES)
    assert measured("w1 w2 w3 w4").findings == first.findings
    expected = len(LINES) - 1
    second = measured("w4 w5")
    differ = [one.key for one, other in zip(first.findings, second.findings, strict=True) if one != other]
    assert differ == ["splice-text"]


def test_an_audit_with_other_inputs_takes_nothing_up(audited: AuditedCircuit, state: Path) -> None:
    audit = Audit(_logged(audited))
    while len(audit.findings) < 3:
        next(audit)
    audit.leave()
    assert Audit(replace(audited, log=AuditLog({"of": "another"}))).n_resumed_lines == 0
