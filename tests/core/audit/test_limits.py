"""Verdicts on the numbers that every circuit has: at the limits that docs/audit.md names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from circuit_tui.core.audit.limits import metric_verdicts
from circuit_tui.core.views import Metrics

PLAIN = Metrics(1.0, 1.0, 4.0, 0.0, 1.0, 0.1, (0.0, 0.0))
EMPTY = replace(PLAIN, faithfulness=0.0, kl=2.0, accuracy=0.5)
FINE = replace(PLAIN, faithfulness=0.97, kl=0.05, completeness=0.1)


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        ("faithfulness", 0.901, "good"),
        ("faithfulness", 1.099, "good"),
        ("faithfulness", 0.899, "doubtful"),
        ("faithfulness", 1.2, "doubtful"),
        ("faithfulness", 0.7, "bad"),
        ("faithfulness", float("nan"), "bad"),
        ("completeness", -0.19, "good"),
        ("completeness", 0.21, "doubtful"),
        ("completeness", -0.6, "bad"),
        ("completeness", None, "not measured"),
        ("kl", 0.1, "good"),
        ("kl", 0.3, "doubtful"),
        ("kl", 1.01, "bad"),
        ("accuracy", 0.96, "good"),
        ("accuracy", 0.9, "doubtful"),
        ("accuracy", 0.8, "bad"),
    ],
)
def test_the_verdict_on_one_number(name: str, value: float | None, verdict: str) -> None:
    verdicts = metric_verdicts(replace(FINE, **{name: value}), PLAIN, EMPTY)  # type: ignore[arg-type]
    assert verdicts == dict.fromkeys(verdicts, "good") | {name: verdict}


def test_kl_is_judged_as_a_share_of_the_empty_circuits_too() -> None:
    assert metric_verdicts(FINE, PLAIN, replace(EMPTY, kl=0.2))["kl"] == "doubtful"
    assert metric_verdicts(FINE, PLAIN, replace(EMPTY, kl=0.08))["kl"] == "bad"
    assert metric_verdicts(FINE, PLAIN, replace(EMPTY, kl=0.0))["kl"] == "good"


@pytest.mark.parametrize(("faithfulness", "verdict"), [(0.96, "good"), (0.94, "doubtful"), (1.06, "doubtful")])
def test_a_missed_target_is_doubtful(faithfulness: float, verdict: str) -> None:
    metrics = replace(FINE, faithfulness=faithfulness)
    assert metric_verdicts(metrics, PLAIN, EMPTY, target=0.95)["faithfulness"] == verdict
    assert metric_verdicts(metrics, PLAIN, EMPTY)["faithfulness"] == "good"
