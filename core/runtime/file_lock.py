"""A lock that the system takes back however the process ends: a file, locked with flock while the lock is held.

Some file systems of clusters have no locks, and flock fails there with another error than that of a lock which is held
(ENOLCK, ENOSYS, EOPNOTSUPP). The file then says who holds it: process, machine and when the process started. A process
of this machine that has ended holds nothing; one of another machine cannot be asked and counts as ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
from pathlib import Path

from circuit_tui.core.runtime.user_log import user_log

_told: set[int] = set()
"""File systems without locks of which the user knows, by device number."""


class FileLock:
    """The lock `path`. Several descriptors may hold it: those of a process and of the child it is handed to.

    With `delete` the file goes when the lock is released.
    """

    def __init__(self, path: Path, *, delete: bool = False) -> None:
        self._path, self._delete = path, delete
        self._descriptor: int | None = None

    @property
    def pid(self) -> int | None:
        """The process that holds it, or did last."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(self._path.read_text().split()[0])
        return None

    @property
    def held_elsewhere(self) -> bool:
        """Whether someone else holds it."""
        if self._descriptor is not None:
            return False
        try:
            descriptor = os.open(self._path, os.O_RDWR)
        except OSError:
            return False
        try:
            return not self._take(descriptor)
        finally:
            os.close(descriptor)

    def claim(self) -> bool:
        """Takes it, until this process ends; returns False if someone else holds it.

        Raises:
            OSError: the file cannot be opened for writing.
        """
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            if not self._take(descriptor):
                os.close(descriptor)
                return False
            # Whoever held it may have deleted the file after it was opened here: then this is the lock of nothing.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), self._path.stat()):
                    self.inherit(descriptor)
                    return True
            os.close(descriptor)

    def release(self, heir: int | None = None) -> None:
        """Lets someone else have it: the child process `heir` alone, if the lock was handed over to one."""
        if self._descriptor is None:
            return
        if heir is not None:
            self._write(heir)
        else:
            os.ftruncate(self._descriptor, len(str(os.getpid())))
        if self._delete:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None

    def hand_over(self) -> int:
        """The open descriptor, which a child process that is given it holds as well."""
        assert self._descriptor is not None
        return self._descriptor

    def inherit(self, descriptor: int) -> None:
        """Takes over from the parent process, which has handed `descriptor` over."""
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor
        self._write(os.getpid())

    def _write(self, pid: int) -> None:
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{pid} {_identity(pid)}".encode(), 0)

    def _take(self, descriptor: int) -> bool:
        """Locks the open file, for as long as `descriptor` is open; returns False if someone else holds the lock."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # EWOULDBLOCK; EACCES where flock is made of record locks
            return False
        except OSError as error:
            if (device := os.fstat(descriptor).st_dev) not in _told:
                _told.add(device)
                user_log.warning(
                    "%s: its file system has no locks (%s); nothing there keeps processes of two machines apart.",
                    self._path.parent,
                    error.strerror or error,
                )
            return not self._holder_lives()
        return True

    def _holder_lives(self) -> bool:
        """Whether the process that the file names is one of this machine and still runs."""
        try:
            pid, _, identity = self._path.read_text().partition(" ")
            return bool(identity) and identity == _identity(int(pid))
        except (OSError, ValueError):
            return False


def _identity(pid: int) -> str:
    """The machine, and when process `pid` started, which tells it from later ones of that number; empty if it ended."""
    try:
        if not Path("/proc/self/stat").is_file():  # not Linux: it is known by its number alone
            os.kill(pid, 0)
            return platform.node()
        # Behind the name, which may hold blanks, come the third field, the state, and the 22nd, the start.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else f"{platform.node()} {fields[19]}"
    except (OSError, IndexError, OverflowError):
        return ""
