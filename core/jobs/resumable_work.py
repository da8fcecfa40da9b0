"""Runs and audits that were cut off, which the same command goes on with.

Nobody has to name such a piece of work: its folder is named by the SHA-256 of all that decides its result, `FORMAT`
included. The folder goes when the work is over, or after `KEPT_DAYS` if nobody came back to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from circuit_tui.core.errors import CheckpointError
from circuit_tui.core.jobs.autosave import SAVE_EVERY
from circuit_tui.core.jobs.state_dir import state_dir
from circuit_tui.core.runtime.file_lock import FileLock
from circuit_tui.core.runtime.throttle import Throttle
from circuit_tui.core.runtime.user_log import user_log

if TYPE_CHECKING:
    from circuit_tui.core.search.search import Search
    from circuit_tui.core.views import SearchProgress

FORMAT = 1
"""Raise this when a change makes the same work give another result: what was kept before is then not gone on with.

A version of the program that leaves results alone goes on with what the version before kept. Version 0.1 had its own
number in this place (`ResumableWork.claim`); its work is of format 1.
"""
KEPT_DAYS = 7
"""Days after which work that nobody came back to is deleted."""
_LOCK = "lock"


class ResumableWork:
    """A piece of work under way.

    Nothing is kept, and `folder` is None, while another process does the same work, or where nothing can be written.
    Then a restart begins anew, but the work goes on.

    Attributes:
        folder: what an earlier process left, and where this one keeps what it has.
    """

    def __init__(self, folder: Path | None, lock: FileLock | None = None) -> None:
        """`lock` is None where another process, which this one helps, holds the lock of `folder`."""
        self.folder, self._lock, self._left = folder, lock, False

    @classmethod
    def claim(cls, kind: str, what: Mapping[str, Any], what_0_1: Mapping[str, Any] | None = None) -> Self:
        """Finds the work whose result `kind` and `what` (JSON values) decide, and makes it this process's.

        `what_0_1` is `what` as version 0.1 wrote it. The folder that it named is taken over, unless 0.1 is at work in
        it.
        """
        try:
            every = resumable_dir()
            folder = every / _folder_name(kind, FORMAT, what)
            if what_0_1 is not None and not folder.exists():
                _take_over(every / _folder_name(kind, "0.1.0", what_0_1), folder)
            folder.mkdir(exist_ok=True)
            lock = FileLock(folder / _LOCK)
            return cls(folder, lock) if lock.claim() else cls(None)
        except OSError as error:
            work = cls(None)
            work.give_up(error)
            return work

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # What fails would fail again from where it is, so it begins anew; only what was cut off goes on.
        if not self._left and (kind is None or issubclass(kind, Exception)):
            self.done()
        self.leave()

    def done(self) -> None:
        """Deletes what was kept: the work is over, and its result is safe elsewhere."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.leave()

    def leave(self) -> None:
        """Leaves what was kept to whoever goes on."""
        self._left = True
        self.folder = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def give_up(self, error: OSError) -> None:
        """Keeps nothing from here on, and tells the user."""
        user_log.warning("nothing is kept for a restart: %s", error)
        self.leave()


def _folder_name(kind: str, form: int | str, what: Mapping[str, Any]) -> str:
    text = json.dumps([form, what], sort_keys=True, ensure_ascii=False, default=str)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _take_over(before: Path, folder: Path) -> None:
    """Gives the folder `before`, if there is one and nobody holds it, the name of `folder`."""
    if before.is_dir() and not FileLock(before / _LOCK).held_elsewhere:
        before.rename(folder)


def resumable_dir() -> Path:
    """Returns the folder of all such work, less what is too old. Raises OSError as `state_dir` does."""
    folder = state_dir("unfinished")
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    for old in folder.iterdir():
        with contextlib.suppress(OSError):
            touched = max(path.stat().st_mtime for path in (old, *old.rglob("*")))
            if touched < oldest and not FileLock(old / _LOCK).held_elsewhere:
                shutil.rmtree(old, ignore_errors=True)
    return folder


def resumable_steps(
    search: Search, work: ResumableWork, name: str = "search", clock: Callable[[], float] = time.monotonic
) -> Generator[SearchProgress, None, None]:
    """Yields the steps of `search`, which goes on from what `work` holds under `name` and keeps there what it needs.

    If the caller stops early, everything up to there is kept; at the end of the search nothing is. Nothing is kept
    while a worker that has lost its parent is still at its last step of the same search.

    Raises:
        CheckpointError: the search cannot go on from what is there. It is left as it is.
    """
    lock = _keep(search, work, name)
    if lock is None or work.folder is None:
        yield from search
        return
    folder, ended = work.folder / name, False
    saving = Throttle(SAVE_EVERY, clock)
    saving.restart()
    try:
        for step in search:
            yield step
            if work.folder is not None and saving.due():
                _save(search, work)
                saving.restart()  # for saving takes a while
        ended = True
    except CheckpointError as error:
        work.leave()
        again = f"start the search anew: rm -r {shlex.quote(str(folder))}, then the same command"
        raise CheckpointError(f"{error}; {again}") from error
    finally:
        if ended and search.result is not None and not search.result.stopped:
            shutil.rmtree(folder, ignore_errors=True)
        elif work.folder is not None:
            _save(search, work)
        lock.release()


def _keep(search: Search, work: ResumableWork, name: str) -> FileLock | None:
    """Has `search` keep what it needs under `name`; returns the lock of that, None where nothing can be kept."""
    if work.folder is None:
        return None
    folder = work.folder / name
    lock = FileLock(folder / _LOCK)
    try:
        folder.mkdir(exist_ok=True)
        if not lock.claim():
            return None
        search.keep(folder)
    except OSError as error:
        lock.release()
        work.give_up(error)
        return None
    return lock


def _save(search: Search, work: ResumableWork) -> None:
    try:
        search.save()
    except OSError as error:
        work.give_up(error)
