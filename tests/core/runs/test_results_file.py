"""The results file: whole runs, once each, readable by other programs."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from pathlib import Path

import pytest
from fake_work import order, record_of

from circuit_tui.core.errors import UserError
from circuit_tui.core.runs.comparison import Comparison, RefusedMethod, write_comparison
from circuit_tui.core.runs.results_file import ResultsFile, read_records, read_rows
from circuit_tui.core.runs.stored_comparison import read_stored_comparison


def write_runs(path: Path, folder: Path, *seeds: int) -> None:
    with ResultsFile(path) as results:
        for seed in seeds:
            results.save(order(folder, seed), record_of(order(folder, seed)))


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_runs(path, tmp_path, 3, 1, 2)
    assert read_records(path) == [record_of(order(tmp_path, seed)) for seed in (3, 1, 2)]
    with ResultsFile(path) as results:
        assert results.finished_ids() == {order(tmp_path, seed).id for seed in (1, 2, 3)}


def test_the_tables_hold_what_the_records_hold(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_runs(path, tmp_path, 5)
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    row = dict(connection.execute("SELECT * FROM runs").fetchone())
    record = record_of(order(tmp_path, 5))
    assert (row["status"], row["task"], row["method"], row["seed"], row["size"]) == ("done", "tiny", "random", 5, 2)
    assert (row["positions"], row["reached"], row["candidates"]) == ("each", 1, 100)
    assert (row["train_faithfulness"], row["test_kl"]) == (record.train.faithfulness, record.test.kl)
    assert (row["test_iqr_low"], row["test_iqr_high"]) == (-0.1, 0.2)
    assert json.loads(row["settings"]) == record.spec.settings
    assert json.loads(row["warnings"]) == ["A warning."]
    points = connection.execute("SELECT size, train, test FROM frontier WHERE run = ? ORDER BY size", (row["id"],))
    assert [tuple(point) for point in points] == [(1, 0.5, 0.4), (2, 0.9, 0.8)]
    nodes = connection.execute("SELECT hook, position, latent FROM nodes ORDER BY latent")
    assert [tuple(node) for node in nodes] == [
        ("blocks.0.hook_resid_post", "last", 5),
        ("blocks.0.hook_resid_post", "first", 7),
    ]
    connection.close()


def test_a_finished_run_is_never_written_again(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_runs(path, tmp_path, 0)
    with ResultsFile(path) as results:
        with pytest.raises(ValueError, match="finished already"):
            results.save(order(tmp_path, 0), record_of(order(tmp_path, 0)))
        with pytest.raises(ValueError, match="finished already"):
            results.save_failure(order(tmp_path, 0), "no")
    assert [row["status"] for row in read_rows(path)] == ["done"]


def test_a_run_that_cannot_be_written_whole_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    record = record_of(order(tmp_path, 0))
    twice = record.model_copy(update={"nodes": record.nodes * 2})
    with ResultsFile(path) as results:
        with pytest.raises(sqlite3.IntegrityError):
            results.save(order(tmp_path, 0), twice)
        assert results.finished_ids() == set()
        results.save(order(tmp_path, 0), record)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM frontier").fetchone() == (2,)
    connection.close()


def test_a_failure_gives_way_to_a_result(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    one = order(tmp_path, 0)
    with ResultsFile(path) as results:
        results.save_failure(one, "first")
        results.save_failure(one, "second", "trace")
        assert [row["error"] for row in read_rows(path)] == ["second"]
        results.save(one, record_of(one))
    assert [(row["status"], row["error"]) for row in read_rows(path)] == [("done", None)]


def test_only_one_process_writes_and_readers_need_not_wait(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with ResultsFile(path) as results:
        results.save(order(tmp_path, 0), record_of(order(tmp_path, 0)))
        with pytest.raises(UserError, match=r"r\.sqlite: another process .* is writing to it"):
            ResultsFile(path)
        assert len(read_records(path)) == 1
    assert sorted(found.name for found in tmp_path.iterdir()) == ["r.sqlite"]
    ResultsFile(path).close()


def test_a_file_system_without_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    path = tmp_path / "r.sqlite"
    write_runs(path, tmp_path, 1)
    (tmp_path / ".r.sqlite.circuit-tui.lock").touch()  # of a process that was killed
    write_runs(path, tmp_path, 2)
    assert len(read_records(path)) == 2
    assert sorted(found.name for found in tmp_path.iterdir()) == ["r.sqlite"]


@pytest.mark.parametrize("content", [b"not a database at all, but a text of some length" * 40, b"{}"])
def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.sqlite"
    path.write_bytes(content)
    for call in (ResultsFile, read_records, read_rows):
        with pytest.raises(UserError, match=r"r\.sqlite: not a results file"):
            call(path)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE own (a)")
    connection.close()
    with pytest.raises(UserError, match="not a results file of this version"):
        ResultsFile(path)
    with pytest.raises(UserError, match="cannot be written there"):
        ResultsFile(tmp_path / "absent" / "r.sqlite")
    with pytest.raises(UserError, match="no such file"):
        read_records(tmp_path / "absent.sqlite")
    assert not (tmp_path / "absent.sqlite").exists()


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_runs(path, tmp_path, 0)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE runs SET record = '{}'")
    connection.close()
    with pytest.raises(UserError, match=f"the record of run {order(tmp_path, 0).id[:12]} is damaged"):
        read_records(path)


def test_a_comparison_can_be_made_of_it(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_runs(path, tmp_path, 0, 1, 2)
    done = read_stored_comparison(path)
    assert done.complete
    assert done.records == read_records(path)
    (task,) = done.tasks
    (method,) = task.methods
    assert [seed.seed for seed in method.seeds] == [0, 1, 2]
    assert method.needed[0].median == 2
    with ResultsFile(path) as results:
        for seed in (3, 4):
            results.save_failure(order(tmp_path, seed, task="other"), "nothing to find")
    failed = read_stored_comparison(path)
    assert not failed.complete
    assert failed.refused == (RefusedMethod(task="other", label="random", reason="nothing to find"),)
    assert failed.tasks == done.tasks
    again = write_comparison(Comparison.of(done.records, complete=True), tmp_path / "c.json")
    assert read_stored_comparison(again).tasks == done.tasks
    with pytest.raises(UserError, match="absent"):
        read_stored_comparison(tmp_path / "absent.sqlite")
