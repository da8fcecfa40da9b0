"""A lock on a folder that the system takes back however the process ends: a file in it that is locked while held."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


class FolderLock:
    """The lock of `folder`. It may be held through several descriptors, by a process and the child it is handed to."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._descriptor: int | None = None

    @property
    def pid(self) -> int | None:
        """The process that holds it, or did last."""
        with contextlib.suppress(OSError, ValueError):
            return int(self._path.read_text())
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
            return not _locked(descriptor)
        finally:
            os.close(descriptor)

    def claim(self) -> bool:
        """Takes it, until this process ends; False if someone else holds it. Raises OSError if there is no folder."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _locked(descriptor):
            os.close(descriptor)
            return False
        self.inherit(descriptor)
        return True

    def release(self) -> None:
        """Lets someone else have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def hand_over(self) -> int:
        """The open descriptor, which a child process that is given it holds as well."""
        assert self._descriptor is not None
        return self._descriptor

    def inherit(self, descriptor: int) -> None:
        """Takes over from the parent process, which has handed `descriptor` over."""
        os.set_inheritable(descriptor, False)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
