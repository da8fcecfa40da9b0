"""A sweep on a Ray cluster of this machine."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from fake_work import FakeWork, begun_seeds, order

from circuit_tui.core.errors import UserError
from circuit_tui.core.runs.results_file import ResultsFile, read_records
from circuit_tui.core.runs.sweep import Sweep, SweepState

pytest.importorskip("ray")
pytestmark = pytest.mark.slow


def test_every_run_is_there_once_though_a_worker_was_killed(
    tmp_path: Path, examples_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from circuit_tui.core.workers.ray_pool import RayPool

    # The workers import the work by name.
    monkeypatch.setenv("PYTHONPATH", examples_path)
    orders = [order(tmp_path, 0, "wait"), order(tmp_path, 1, "fail"), *(order(tmp_path, seed) for seed in range(2, 8))]
    pool = RayPool("local", FakeWork, "cpu", 2)
    victim = 0

    def watch(state: SweepState) -> None:
        nonlocal victim
        if not victim and state.done + len(state.failed) >= 2:
            assert [busy.order.spec.seed for busy in state.busy.values()].count(0) == 1
            end = time.monotonic() + 120
            while 0 not in dict(begun_seeds(tmp_path)):  # its worker may start last
                assert time.monotonic() < end
                time.sleep(0.02)
            victim = dict(begun_seeds(tmp_path))[0]
            os.kill(victim, signal.SIGKILL)
            (tmp_path / "go").touch()

    try:
        assert pool.jobs == 2
        with ResultsFile(tmp_path / "r.sqlite") as results:
            state = Sweep(orders, results, pool, 2, watch).run()
    finally:
        pool.close()
    assert victim
    assert [error for _, error in state.failed] == ["there is nothing to find"]
    assert sorted(record.spec.seed for record in read_records(tmp_path / "r.sqlite")) == [0, 2, 3, 4, 5, 6, 7]
    runs = begun_seeds(tmp_path)
    assert sorted(seed for seed, _ in runs) == [0, 0, 1, 2, 3, 4, 5, 6, 7]
    first, second = (pid for seed, pid in runs if seed == 0)
    assert first == victim != second
    assert len({pid for _, pid in runs}) in (2, 3), "two workers, and one more for the one that was killed"


def test_a_cluster_that_is_not_there_or_has_no_gpu_is_refused() -> None:
    from circuit_tui.core.workers.ray_pool import RayPool

    with pytest.raises(UserError, match=r"--ray 127\.0\.0\.1:1: cannot be reached: Connection refused"):
        RayPool("127.0.0.1:1", FakeWork, None, None)
    with pytest.raises(UserError, match="--device cuda: the Ray cluster has no GPU"):
        RayPool("local", FakeWork, "cuda", 1)
