"""The progress of an audit, as its command shows it."""

from __future__ import annotations

import pytest

from circuit_tui.core.audit.finding import AuditProgress
from circuit_tui.tui.commands.progress import AuditBar


def test_one_line_shows_lines_searches_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with AuditBar() as bar:
        bar.show(AuditProgress("answers", 4, 18, 0.001, 0.1, None))
        bar.show(AuditProgress("other seeds", 16, 18, 0.5, 80.0, 80.0, (3, 11)))
        bar.show(AuditProgress("", 18, 18, 1.0, 160.0, 0.0, (11, 11)))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["answers 5/18", "other seeds 17/18 · 3 of 11 searches · 1 min 20 s left"]
