"""An optimisation ends once its mask has settled at the target, and goes on to the same circuit after a kill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny.searches import SearchableProblem, run_search

from circuit_tui.core.search import progress
from circuit_tui.core.search.progress import MaskHistory

STEPS = 60


def history(*kept: tuple[int, ...]) -> MaskHistory:
    """Recorded masks of four nodes that keep `kept`."""
    made = MaskHistory()
    for step, nodes in enumerate(kept):
        made.record(step, len(kept), torch.tensor([0.9 if node in nodes else 0.1 for node in range(4)]))
    return made


def test_a_mask_has_settled_when_it_stays_as_it_is_and_is_no_longer_what_it_was() -> None:
    n = progress.SETTLED_MASKS
    assert history((0, 1), *[(0,)] * n).settled
    assert not history((0, 1), *[(0,)] * (n - 1)).settled
    assert not history(*[(0, 1)] * (2 * n)).settled
    assert not history((0, 1), *[(0,)] * n, (1,)).settled
    assert not history((0, 1), *[(0,)] * (n // 2), (1,), *[(0,)] * (n // 2)).settled
    assert not MaskHistory().settled


@pytest.mark.parametrize("needed", [3, STEPS])
def test_the_optimisation_ends_when_the_mask_has_settled(
    searchable: Callable[[str], SearchableProblem], needed: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(progress, "SETTLED_MASKS", needed)
    monkeypatch.setattr(progress, "RECORDED_MASKS", STEPS)
    search = searchable("gpt2-each").search("mask", 0.8, steps=STEPS)
    result, steps = run_search(search)
    optimised = [step for step in steps if step.stage == "optimise"]
    if needed == STEPS:
        assert len(optimised) == STEPS
        return
    assert len(optimised) < STEPS
    assert search.masks.settled
    last = optimised[-needed:]
    assert len({step.size for step in last}) == 1
    assert last[-1].soft is not None
    assert last[-1].soft >= 0.8
    dying = searchable("gpt2-each").search("mask", 0.8, steps=STEPS)
    dying.keep(tmp_path)
    for _ in range(len(optimised) + 2):  # just after its last step
        next(dying)
    dying.save()
    again = searchable("gpt2-each").search("mask", 0.8, steps=STEPS)
    again.keep(tmp_path)
    resumed = run_search(again)[0]
    assert (resumed.nodes, resumed.train, resumed.steps) == (result.nodes, result.train, result.steps)
