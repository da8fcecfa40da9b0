"""The explorer goes on with a search and the session around it that version 0.1 left when it was killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from textual.message import Message

from circuit_tui.core.jobs.job import Job, all_jobs
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.tui.engine.engine import Engine
from circuit_tui.tui.engine.messages import Notice
from circuit_tui.tui.engine.session_protocol import open_real_session

LeftJob = Callable[[str], Job]
Begin = Callable[[Job], Engine]


@pytest.fixture
def notices() -> list[str]:
    """What the explorer has told."""
    return []


@pytest.fixture
def begin(notices: list[str]) -> Iterator[Begin]:
    """A function that lets the explorer's engine go on with a job."""
    engines: list[Engine] = []

    def post(message: Message) -> None:
        if isinstance(message, Notice):
            notices.append(message.text)

    def begun(job: Job) -> Engine:
        assert job.claim()
        engines.append(Engine(OpenRequest(task="sva-simple"), open_real_session, post, "x.log", job))
        engines[-1].start()
        return engines[-1]

    yield begun
    for engine in engines:
        engine.stop()
        assert engine.join(60)


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.01)


def test_the_search_and_the_session_go_on(left_job: LeftJob, begin: Begin, notices: list[str], expected: Any) -> None:
    job, known = left_job("explore-search"), expected["jobs"]["explore-search"]
    engine = begin(job)
    until(lambda: engine.state.search.progress is not None)
    assert engine.state.circuit is not None
    assert engine.state.circuit.size == known["session"]["size"]
    assert engine.state.circuit.snapshots == tuple(known["session"]["snapshots"])
    assert engine.state.search.progress is not None
    assert engine.state.search.progress.step > known["loops"]["loop-0.pt"]
    assert not notices


def test_a_search_that_cannot_be_gone_on_with_is_told_and_kept(
    left_job: LeftJob, begin: Begin, notices: list[str], expected: Any
) -> None:
    job = left_job("explore-search")
    checkpoint = job.search_folder / "loop-0.pt"
    stored = torch.load(checkpoint, weights_only=True)
    stored["state"]["renamed"] = stored["state"].pop("theta")
    torch.save(stored, checkpoint)
    before = checkpoint.read_bytes()
    engine = begin(job)
    until(lambda: engine.state.search.phase == "failed")
    until(lambda: notices)
    assert notices == [f"{checkpoint}: this version cannot continue the search stored there; s starts it anew"]
    engine.stop()
    assert engine.join(60)
    assert checkpoint.read_bytes() == before
    assert [one.name for one in all_jobs()] == [job.name]
    assert engine.state.circuit is not None
    assert engine.state.circuit.size == expected["jobs"]["explore-search"]["session"]["size"]
