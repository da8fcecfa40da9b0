"""A full device under the explorer's engine and a real session: it goes on, or says what does not fit and lives on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny.models_with_saes import TinyModel
from tiny.sessions import request, write_prompts
from tiny.solvable_task import solvable_task

from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.runtime.user_log import user_log
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.tui.engine import commands
from circuit_tui.tui.engine.engine import Engine
from circuit_tui.tui.engine.messages import Notice, NoticeHandler
from circuit_tui.tui.engine.session_protocol import open_real_session

Limit = Callable[[int], None]


class Posted:
    """What the screen would be told; `texts` of all notices so far."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, message: Any) -> None:
        if isinstance(message, Notice):
            self.texts.append(message.text)

    def heard(self, part: str) -> bool:
        return any(part in text for text in self.texts)


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.01)


@pytest.fixture
def asked(tiny_model: Callable[[str], TinyModel], tmp_path: Path) -> OpenRequest:
    tiny = tiny_model("gpt2")
    return request(tiny, write_prompts(solvable_task(tiny, (6,) * 12, (6,) * 7), tmp_path / "p.jsonl"), errors="keep")


@pytest.fixture
def posted() -> Iterator[Posted]:
    posted = Posted()
    handler = NoticeHandler(posted)
    user_log.addHandler(handler)
    yield posted
    user_log.removeHandler(handler)


@pytest.fixture
def engine(asked: OpenRequest, posted: Posted) -> Iterator[Engine]:
    engine = Engine(asked, open_real_session, posted, "x.log")
    engine.start()
    until(lambda: engine.state.phase == "ready" and not engine._work_left)
    yield engine
    engine.stop()
    assert engine.join(60)


def version(engine: Engine) -> int:
    assert engine.state.circuit is not None
    return engine.state.circuit.version


def finished(engine: Engine) -> bool:
    """Whether all that an edit brings with it has been published."""
    circuit = engine.state.circuit
    assert circuit is not None
    return not engine._work_left and not circuit.estimated and circuit.effects_done == circuit.size


def done(engine: Engine, command: commands.Command) -> None:
    """Asks for an edit, and waits for it and all that follows."""
    before = version(engine)
    engine.submit(command)
    until(lambda: version(engine) > before and finished(engine))


def test_opening_goes_on_and_ends_with_one_line_where_nothing_fits(
    asked: OpenRequest, posted: Posted, limit: Limit
) -> None:
    for most, phase in ((5, "ready"), (0, "failed")):
        limit(most)
        engine = Engine(asked, open_real_session, posted, "x.log")
        engine.start()
        until(lambda engine=engine: engine.state.phase in ("ready", "failed"))
        assert engine.state.phase == phase
        engine.stop()
        assert engine.join(60)
    assert posted.heard("running the model goes on with")
    assert str(engine.state.error).startswith("out of memory")
    assert "try --dtype" in str(engine.state.error)


def test_toggles_go_on_and_those_that_never_fit_are_one_message(engine: Engine, posted: Posted, limit: Limit) -> None:
    limit(2)
    done(engine, commands.ToggleNode(0))
    assert posted.heard("evaluating on test prompts goes on with 1 prompt at a time")
    limit(0)
    engine.submit(commands.ToggleNode(1))
    until(lambda: posted.heard("does not fit even with one prompt"))
    assert engine.alive
    limit(10**9)
    done(engine, commands.ToggleNode(2))
    assert engine.state.circuit is not None
    assert not engine.state.circuit.estimated
    assert engine.state.circuit.effects_done == engine.state.circuit.size


def test_a_search_goes_on_and_one_that_never_fits_ends_with_a_message(
    engine: Engine, posted: Posted, limit: Limit
) -> None:
    order = commands.StartSearch(SearchSpec("published", 0.5, 0, {"steps": 8}))
    limit(3)
    engine.submit(order)
    until(lambda: engine.state.search.phase == "done" and not engine._work_left)
    assert posted.heard("the search (published) goes on with")
    limit(0)
    engine.submit(order)
    until(lambda: engine.state.search.phase == "failed")
    until(lambda: posted.heard("the search (published) does not fit"))
    limit(10**9)
    done(engine, commands.ToggleNode(2))


def test_an_audit_goes_on_and_one_that_never_fits_ends_with_a_message(
    engine: Engine, posted: Posted, limit: Limit
) -> None:
    done(engine, commands.ToggleNode(0))
    limit(0)
    engine.submit(commands.StartAudit())
    until(lambda: posted.heard("does not fit even with one prompt"))
    until(lambda: not engine._work_left)
    assert engine.alive
    limit(10**9)
    done(engine, commands.ToggleNode(1))


def test_what_is_not_tried_again_says_what_would_help(
    engine: Engine, posted: Posted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pane's numbers are asked for again by the next key."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20.00 MiB.")

    monkeypatch.setattr("circuit_tui.core.session.session.latent_view", refuse)
    engine.submit(commands.ShowLatent(0, 1))
    until(lambda: posted.texts)
    assert posted.texts == [
        "out of memory: OutOfMemoryError: CUDA out of memory.; try --dtype bfloat16, fewer or narrower SAEs, fewer "
        "prompts, or --device cpu\nDetails in x.log"
    ]
