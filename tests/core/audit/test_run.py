"""The audit as a whole: its outcome, its steps, its part of a file, and a task that makes no sense."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import pytest
import torch
from circuit_example import example
from tiny.audits import audited_circuit
from tiny.problems import random_circuit
from tiny.searches import with_candidates

from circuit_tui.core import demo
from circuit_tui.core.audit.finding import DECIDING, TITLES, Finding, grade, outcome, reasons
from circuit_tui.core.audit.lines import EDGE_LINES, LINES
from circuit_tui.core.audit.report import audit_part, settings_of
from circuit_tui.core.audit.run import Audit
from circuit_tui.core.choices import Verdict
from circuit_tui.core.circuits import schema as circuit_schema
from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.demo.text import text
from circuit_tui.core.splice.problem import Problem

FEW = {"bootstraps": 50, "subsets": 1, "draws": 1, "random_circuits": 3, "pairs": 2}


def _lines(**verdicts: Verdict) -> tuple[Finding, ...]:
    named = {key.replace("_", "-"): verdict for key, verdict in verdicts.items()}
    return tuple(Finding(key, named.get(key, "good"), "") for key in TITLES)


def test_what_the_lines_say_together() -> None:
    assert outcome(_lines(), finished=True) == "believable"
    assert outcome(_lines(unseen="doubtful"), finished=True) == "believable"
    assert outcome(_lines(unseen="bad"), finished=True) == "believable within limits"
    assert outcome(_lines(errors="doubtful"), finished=True) == "believable within limits"
    assert outcome(_lines(shuffled="not measured"), finished=True) == "believable within limits"
    for key in DECIDING:
        lines = tuple(replace(line, verdict="bad") if line.key == key else line for line in _lines())
        assert outcome(lines, finished=True) == "do not believe"
        assert outcome(lines, finished=False) == "do not believe"
    assert outcome(_lines()[:4], finished=False) == "not finished"


def test_the_lines_that_limit_it_are_named() -> None:
    assert reasons(_lines()) == ()
    assert reasons(_lines(unseen="doubtful", minimality="not measured")) == ()
    assert reasons(_lines(unseen="bad", shuffled="not measured", errors="doubtful")) == (
        "a template never seen",
        "errors of single prompts",
        "the same search on nonsense",
    )
    assert reasons(_lines(unseen="bad", answers="bad", errors="doubtful")) == ("answers",)


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.1, "good"), (0.11, "doubtful"), (0.5, "doubtful"), (0.6, "bad"), (float("nan"), "bad")]
)
def test_grades(value: float, verdict: Verdict) -> None:
    assert grade(value, 0.1, 0.5) == verdict


def test_every_line_has_a_name_and_says_something(problem: Problem) -> None:
    small = with_candidates(problem, list(range(0, len(problem.space), 12)))
    audited = audited_circuit(small, random_circuit(small, 0.5, 0), "ig", 0.3, seeds=2, resamplings=2, **FEW)
    audit = Audit(audited)
    steps = list(audit)
    result = audit.result
    assert [finding.key for finding in result.findings] == [line.key for line in LINES]
    assert [line.key for line in LINES + EDGE_LINES] == list(TITLES)
    assert result.finished
    assert all(finding.says.endswith(".") for finding in result.findings)
    not_measured = [finding.key for finding in result.findings if finding.verdict == "not measured"]
    assert not_measured == ["splice-text", "dictionaries"]
    shares = [step.share for step in steps]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, pytest.approx(1))
    assert len(steps) > 100, "short steps"

    part = audit_part(result)
    assert len(part.runs) == 5
    assert len(part.jaccard) == 4
    assert [row[index] for index, row in enumerate(part.jaccard)] == [1, 1, 1, 1]
    assert part.outcome == result.outcome
    assert settings_of(part, None) == audited.settings
    data = example() | {"audit": part.model_dump(mode="json")}
    file = CircuitFile.model_validate_json(json.dumps(data))
    assert file.data() == data
    jsonschema.validate(data, circuit_schema.json_schema())


def test_a_file_without_an_audit_stays_as_it_was() -> None:
    data = example()
    file = CircuitFile.model_validate_json(json.dumps(data))
    assert file.audit is None
    assert file.data() == data
    jsonschema.validate(data, circuit_schema.json_schema())


def test_an_audit_can_be_left_at_any_time(problem: Problem) -> None:
    audit = Audit(audited_circuit(problem, random_circuit(problem, 0.5, 0), **FEW))
    for step in audit:
        if step.done == 4:
            break
    result = audit.result
    assert len(result.findings) == 4
    assert not result.finished
    assert not audit_part(result).finished


def test_a_nonsense_task_is_refused(problem: Problem) -> None:
    """Labels are exchanged on all prompts: the model answers all of them wrongly, and no search is made."""
    splits = {
        name: replace(split, answers=split.answers.swapped(torch.arange(len(split))))
        for name, split in problem.splits.items()
    }
    nonsense = replace(problem, splits=splits)
    audit = Audit(audited_circuit(nonsense, random_circuit(problem, 0.5, 0), **FEW))
    for _ in audit:
        pass
    verdicts = {finding.key: finding.verdict for finding in audit.result.findings}
    assert audit.result.outcome == "do not believe"
    assert verdicts["task"] == "bad"
    assert verdicts["shuffled"] == verdicts["seeds"] == verdicts["resamplings"] == "not measured"
    assert "the model cannot do it" in audit.result.findings[-2].says


def test_the_demos_text_is_what_its_script_makes() -> None:
    assert demo.text_path().read_text(encoding="utf-8") == text()
