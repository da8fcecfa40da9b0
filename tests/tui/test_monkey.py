"""Random keys, pastes, clicks and sizes in a real pty. ``MONKEY_SEED`` repeats a run, ``MONKEY_EVENTS`` prolongs it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import monkey
import pytest

pytestmark = pytest.mark.slow
EVENTS = int(os.environ.get("MONKEY_EVENTS", "1000"))


def test_a_monkey_breaks_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get("MONKEY_SEED", random.randrange(2**32)))
    print(f"MONKEY_SEED={seed}")
    assert monkey.play(tmp_path, EVENTS, seed, "mouse", "slow") >= 1


@pytest.mark.parametrize("name", monkey.FORMER)
def test_what_once_ended_the_explorer_no_longer_does(tmp_path: Path, name: str) -> None:
    monkey.replay(tmp_path, name)


def test_a_monkey_at_the_demo(tmp_path: Path) -> None:
    seed = int(os.environ.get("MONKEY_SEED", random.randrange(2**32)))
    print(f"MONKEY_SEED={seed}")
    assert monkey.play(tmp_path, 60, seed, "mouse", "demo") >= 1
