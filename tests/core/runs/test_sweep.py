"""Sweeps with worker processes: every run once, whatever fails, dies or is killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_work import FakeWork, begun_seeds, order, record_of

from circuit_tui.core.errors import UserError
from circuit_tui.core.runs.order import RunOrder
from circuit_tui.core.runs.record import RunRecord
from circuit_tui.core.runs.results_file import ResultsFile, read_records, read_rows
from circuit_tui.core.runs.sweep import Sweep, SweepState, WatchSweep
from circuit_tui.core.workers.process_pool import ProcessPool


def run(orders: Sequence[RunOrder], path: Path, jobs: int = 2, watch: WatchSweep = lambda state: None) -> SweepState:
    pool = ProcessPool(FakeWork, 3)
    try:
        with ResultsFile(path) as results:
            return Sweep(orders, results, pool, jobs, watch).run()
    finally:
        pool.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def seeds(path: Path) -> list[int]:
    return sorted(record.spec.seed for record in read_records(path))


def test_several_processes_do_every_run_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    orders = [order(tmp_path, seed) for seed in range(12)]
    seen: list[tuple[RunOrder, RunRecord | str]] = []
    state = run(orders, tmp_path / "r.sqlite", watch=lambda state: seen.append(state.last) if state.last else None)
    assert (state.total, state.already_done, state.done, state.failed) == (12, 0, 12, [])
    assert sorted(order.spec.seed for order, _ in seen) == list(range(12))
    assert sorted(seed for seed, _ in begun_seeds(tmp_path)) == seeds(tmp_path / "r.sqlite") == list(range(12))
    workers = {pid for _, pid in begun_seeds(tmp_path)}
    assert os.getpid() not in workers
    assert len(workers) == 2
    assert {record.machine.threads for record in read_records(tmp_path / "r.sqlite")} == {3}
    assert capfd.readouterr().out == "", "what libraries print in a worker is no result"
    assert not any(alive(pid) for pid in workers)


def test_a_worker_killed_in_the_middle_loses_no_run(tmp_path: Path) -> None:
    orders = [order(tmp_path, 0, "wait"), *(order(tmp_path, seed) for seed in range(1, 8))]
    victim = 0

    def watch(state: SweepState) -> None:
        nonlocal victim
        waiting = [busy for busy in state.busy.values() if busy.order.spec.seed == 0 and busy.step]
        if waiting and not victim:
            victim = dict(begun_seeds(tmp_path))[0]
            os.kill(victim, signal.SIGKILL)
            (tmp_path / "go").touch()

    state = run(orders, tmp_path / "r.sqlite", watch=watch)
    assert victim
    assert (state.done, state.failed) == (8, [])
    assert seeds(tmp_path / "r.sqlite") == list(range(8))
    first, second = (pid for seed, pid in begun_seeds(tmp_path) if seed == 0)
    assert first == victim != second
    assert sorted(seed for seed, _ in begun_seeds(tmp_path)) == [0, 0, 1, 2, 3, 4, 5, 6, 7]


def test_a_run_that_kills_its_workers_fails_and_the_others_go_on(tmp_path: Path) -> None:
    orders = [order(tmp_path, 0, "die"), *(order(tmp_path, seed) for seed in range(1, 5))]
    state = run(orders, tmp_path / "r.sqlite")
    assert [(order.spec.seed, error) for order, error in state.failed] == [
        (0, "its worker process was killed by SIGKILL, 2 times")
    ]
    assert seeds(tmp_path / "r.sqlite") == [1, 2, 3, 4]


def test_failures_are_written_down_and_tried_again_but_nothing_that_is_done(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    orders = [order(tmp_path, 0, "fail"), order(tmp_path, 1, "crash"), order(tmp_path, 2), order(tmp_path, 3)]
    state = run(orders, path, jobs=1)
    errors = {order.spec.seed: error for order, error in state.failed}
    assert errors == {0: "there is nothing to find", 1: "RuntimeError: boom"}
    rows = {row["seed"]: row for row in read_rows(path)}
    assert {seed: (row["status"], row["error"]) for seed, row in rows.items()} == {
        0: ("failed", "there is nothing to find"),
        1: ("failed", "RuntimeError: boom"),
        2: ("done", None),
        3: ("done", None),
    }
    connection = sqlite3.connect(path)
    traces = dict(connection.execute("SELECT seed, traceback FROM runs"))
    connection.close()
    assert traces[0] is None
    assert "in __call__" in traces[1]
    again = run([*orders, order(tmp_path, 4)], path, jobs=1)
    assert (again.already_done, again.done, len(again.failed)) == (2, 1, 2)
    counts = [seed for seed, _ in begun_seeds(tmp_path)]
    assert {seed: counts.count(seed) for seed in range(5)} == {0: 2, 1: 2, 2: 1, 3: 1, 4: 1}
    assert len(read_rows(path)) == 5


def test_weights_that_changed_under_the_same_name_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    old = order(tmp_path, 100)
    with ResultsFile(path) as results:
        results.save(old, record_of(old, weights="f" * 64))
    state = run([order(tmp_path, 0), order(tmp_path, 1, task="other")], path)
    assert [order.task for order, _ in state.failed] == ["tiny"]
    assert "made with other weights or SAEs of the same name; write to another --out" in state.failed[0][1]
    assert seeds(path) == [1, 100]


def test_token_ids_that_changed_are_noticed_where_they_are_known(tmp_path: Path) -> None:
    known, unknown = tmp_path / "known.sqlite", tmp_path / "unknown.sqlite"
    old = order(tmp_path, 100)
    for path, tokens in ((known, "f" * 64), (unknown, "")):
        with ResultsFile(path) as results:
            results.save(old, record_of(old, tokens=tokens))
    (failed,) = run([order(tmp_path, 0)], known).failed
    assert "made with other token ids (tokenizer or chat template) of the same name" in failed[1]
    assert not run([order(tmp_path, 0)], unknown).failed
    assert seeds(unknown) == [0, 100]


SCRIPT = """
import sys
from pathlib import Path
from fake_work import FakeWork, order
from circuit_tui.core.workers.process_pool import ProcessPool
from circuit_tui.core.runs.results_file import ResultsFile
from circuit_tui.core.runs.sweep import Sweep
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    orders = [order(folder, seed, "wait" if seed == 3 else "plain") for seed in range(6)]
    with ResultsFile(folder / "r.sqlite") as results:
        Sweep(orders, results, ProcessPool(FakeWork, 1), 1, lambda state: None).run()
"""


def test_killed_and_started_again_it_goes_on_where_it_was(tmp_path: Path, examples_path: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    env = os.environ | {"PYTHONPATH": examples_path}
    killed = subprocess.Popen([sys.executable, str(tmp_path / "script.py"), str(tmp_path)], env=env)
    try:
        end = time.monotonic() + 120
        while not any(seed == 3 for seed, _ in begun_seeds(tmp_path)):
            assert time.monotonic() < end
            time.sleep(0.02)
        with pytest.raises(UserError, match=r"another process .* is writing to it"):
            ResultsFile(tmp_path / "r.sqlite")
    finally:
        killed.kill()
        killed.wait()
    assert seeds(tmp_path / "r.sqlite") == [0, 1, 2]
    worker = dict(begun_seeds(tmp_path))[3]
    end = time.monotonic() + 60
    while alive(worker):
        assert time.monotonic() < end, "a worker without a parent goes on"
        time.sleep(0.02)
    (tmp_path / "go").touch()
    state = run([order(tmp_path, seed, "wait" if seed == 3 else "plain") for seed in range(6)], tmp_path / "r.sqlite")
    assert (state.already_done, state.done) == (3, 3)
    assert seeds(tmp_path / "r.sqlite") == list(range(6))
    counts = [seed for seed, _ in begun_seeds(tmp_path)]
    assert [counts.count(seed) for seed in range(6)] == [1, 1, 1, 2, 1, 1]
    assert not (tmp_path / ".r.sqlite.circuit-tui.lock").exists()


def test_giving_out_work_and_reading_results_takes_no_torch() -> None:
    code = "import sys, circuit_tui.core.runs.sweep, circuit_tui.core.runs.results_file\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_worker_stays_with_what_it_has_open(tmp_path: Path) -> None:
    orders = [order(tmp_path, 10 * task + seed, task=f"t{task}") for seed in range(3) for task in range(2)]
    run(orders, tmp_path / "r.sqlite", jobs=1)
    assert [seed for seed, _ in begun_seeds(tmp_path)] == [0, 1, 2, 10, 11, 12]
