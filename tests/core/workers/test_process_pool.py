"""Workers that are processes of this machine; that they do what they are given is tested with sweeps and audits."""

from __future__ import annotations

import pytest

from circuit_tui.core.workers.process_pool import threads_for


@pytest.mark.parametrize(("given", "jobs", "threads"), [("3", 2, 3), ("", 1000, 1), ("many", 1000, 1), ("0", 1000, 1)])
def test_threads_are_divided_unless_the_user_says(
    monkeypatch: pytest.MonkeyPatch, given: str, jobs: int, threads: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert threads_for(jobs) == threads
