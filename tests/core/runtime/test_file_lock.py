"""A lock on a file: who holds it, who may have it next, and what becomes of it where the file system has no locks."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from circuit_tui.core.runtime import file_lock
from circuit_tui.core.runtime.file_lock import FileLock

HOLDER = """
import errno, fcntl, os, sys
from pathlib import Path
if sys.argv[2] == "none":
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    fcntl.flock = refuse
from circuit_tui.core.runtime.file_lock import FileLock
lock = FileLock(Path(sys.argv[1]))
if len(sys.argv) > 3:
    lock.inherit(int(sys.argv[3]))
else:
    assert lock.claim()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["flock", "none"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the file system has."""
    if request.param == "none":
        without_locks(monkeypatch)
    return str(request.param)


def without_locks(monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOLCK) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(file_lock, "_told", set())


@contextmanager
def holder(path: Path, kind: str, *descriptors: int) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock, or is handed an open descriptor of it."""
    command = [sys.executable, "-c", HOLDER, str(path), kind, *map(str, descriptors)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=descriptors)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_one_at_a_time(tmp_path: Path, kind: str) -> None:
    one, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert not one.held_elsewhere
    assert one.claim()
    assert (one.pid, one.held_elsewhere) == (os.getpid(), False)
    assert other.held_elsewhere
    assert not other.claim()
    one.release()
    assert (other.pid, other.held_elsewhere) == (os.getpid(), False), "it did last"
    assert other.claim()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_the_process_however_that_ends(tmp_path: Path, kind: str, end: signal.Signals) -> None:
    lock = FileLock(tmp_path / "lock")
    with holder(tmp_path / "lock", kind) as process:
        assert (lock.held_elsewhere, lock.pid) == (True, process.pid)
        assert not lock.claim()
        process.send_signal(end)
        process.wait()
        assert not lock.held_elsewhere
        assert lock.claim()


def test_a_child_that_it_is_handed_to_holds_it_too(tmp_path: Path, kind: str) -> None:
    lock, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert lock.claim()
    with holder(tmp_path / "lock", kind, lock.hand_over()) as child:
        lock.release(child.pid)
        assert (other.held_elsewhere, other.pid) == (True, child.pid)
        assert not other.claim()
    assert not other.held_elsewhere


def test_it_is_never_nobody_s_while_it_is_handed_over(tmp_path: Path, kind: str) -> None:
    lock, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert lock.claim()
    descriptor = lock.hand_over()
    sleeping = [sys.executable, "-c", "import sys; sys.stdin.read()"]  # it has not yet said that it holds the lock
    child = subprocess.Popen(sleeping, stdin=subprocess.PIPE, pass_fds=[descriptor])
    lock.release(child.pid)
    try:
        assert (other.held_elsewhere, other.pid) == (True, child.pid)
    finally:
        child.kill()
        child.wait()
    assert not other.held_elsewhere


def test_a_lock_that_goes_with_its_holder(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "r.sqlite.lock"
    lock = FileLock(path, delete=True)
    assert lock.claim()
    assert path.is_file()
    lock.release()
    assert not path.exists()


def test_a_file_that_was_deleted_meanwhile_locks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "lock", os.open
    opened: list[int] = []

    def open_and_lose(*args: object) -> int:
        descriptor = real(*args)  # type: ignore[arg-type]
        opened.append(descriptor)
        if len(opened) == 1:
            path.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", open_and_lose)
    lock = FileLock(path)
    assert lock.claim()
    assert len(opened) == 2
    assert FileLock(path).held_elsewhere


def test_what_an_earlier_version_wrote(tmp_path: Path, kind: str) -> None:
    """It wrote the number of the process alone."""
    (tmp_path / "lock").write_text(str(os.getpid()))
    lock = FileLock(tmp_path / "lock")
    assert (lock.pid, lock.held_elsewhere) == (os.getpid(), False)
    assert lock.claim()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_no_locks_are_not_a_lock_that_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    without_locks(monkeypatch, number)
    with caplog.at_level(logging.WARNING, "circuit_tui.user"):
        for name in ("one", "two"):
            lock = FileLock(tmp_path / name)
            assert not lock.held_elsewhere
            assert lock.claim()
            lock.release()
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"{tmp_path}: its file system has no locks ({os.strerror(number)})" in line


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_is_held_is_no_lack_of_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    (tmp_path / "lock").touch()
    without_locks(monkeypatch, number)
    lock = FileLock(tmp_path / "lock")
    assert lock.held_elsewhere
    assert not lock.claim()
    assert not caplog.records


@pytest.mark.parametrize("mark", ["{pid} elsewhere 1", "{pid} {node} 1", "{pid} ", "nonsense", ""])
def test_without_locks_a_number_that_another_process_has_now_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    without_locks(monkeypatch)
    (tmp_path / "lock").write_text(mark.format(pid=os.getpid(), node=os.uname().nodename))
    lock = FileLock(tmp_path / "lock")
    assert not lock.held_elsewhere
    assert lock.claim()
