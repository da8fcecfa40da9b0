"""How far a download is: bytes, and the time left at the recent rate.

huggingface_hub reports through a progress bar class, which `DownloadProgress.bar` makes. Over plain HTTP it calls the
bar in the thread that asked for the file, and an exception raised there ends the download. Files in Xet storage are
fetched by hf_xet, which calls the bar from a thread of its own and swallows what it raises; there the session is
aborted, and the exception is raised once huggingface_hub returns.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, Self

from circuit_tui.core.runtime.throttle import Throttle
from circuit_tui.core.views import LoadProgress

REPORT_EVERY = 0.25
"""Seconds between two reports."""
WINDOW = 10.0
"""Seconds over which the rate is taken."""


class DownloadProgress:
    """Counts the bytes of a download of `total` bytes in one or several files, and reports them.

    `report` gets a `LoadProgress` at most every `REPORT_EVERY` seconds, perhaps in a thread of hf_xet while the caller
    waits. Whatever it raises ends the download. `stage` says at which stage of opening this is.
    """

    def __init__(
        self,
        report: Callable[[LoadProgress], None],
        stage: LoadProgress,
        total: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report, self._stage, self._total, self._clock = report, stage, total, clock
        self._before, self._in_file, self._size = 0, 0, 0
        self._text = self._shown = stage.text
        self._marks: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._throttle = Throttle(REPORT_EVERY, clock)
        self._thread = threading.get_ident()
        self._cancelled: BaseException | None = None

    def begin(self, text: str, size: int) -> None:
        """Begins the next file, of `size` bytes; the one before is whole."""
        self._before += self._size
        self._in_file, self._size = 0, size
        self._text = self._shown = text
        self._tell(now=True)

    def bar(self) -> type[FileBar]:
        """The class of the bar to which huggingface_hub reports the file that has begun (its `tqdm_class`)."""
        return type("FileBar", (FileBar,), {"progress": self})

    def at(self, done: int) -> None:
        """Says that `done` bytes of this file have arrived; fewer than before when a server made us begin again."""
        self._in_file, self._shown = min(done, self._size), self._text
        whole = self._in_file == self._size
        try:
            self._tell(now=whole)
        except BaseException as error:
            self._cancelled = error
            if threading.get_ident() != self._thread:
                _abort_xet()
            elif not whole:
                raise

    def notice(self, text: str) -> None:
        """Shows `text` before the name of the file until more of it arrives."""
        self._shown = f"{text}: {self._text}"
        self._tell(now=True)

    def check_cancelled(self) -> None:
        """Raises what `report` has raised where it could not be raised at once."""
        if self._cancelled is not None:
            raise self._cancelled

    def _tell(self, *, now: bool) -> None:
        if now:
            self._throttle.restart()
        elif not self._throttle.due():
            return
        at, done = self._clock(), self._before + self._in_file
        self._marks.append((at, done))
        while len(self._marks) > 2 and at - self._marks[0][0] > WINDOW:
            self._marks.popleft()
        first, count = self._marks[0]
        rate = (done - count) / (at - first) if at - first > 0.5 else 0.0
        left = (self._total - done) / rate if rate > 0 else None
        self._report(LoadProgress(self._shown, self._stage.done, self._stage.total, done, self._total, left))


class FileBar:
    """What huggingface_hub uses of tqdm. It draws nothing.

    Xet fetches blocks, compressed and without what is there already, and writes them out when they are whole: `update`
    gets bytes of the file, `update_transfer` bytes from the network. The larger of the two says best how far it is.
    Over plain HTTP both get the same.
    """

    progress: ClassVar[DownloadProgress]

    def __init__(self, *_: Any, initial: int = 0, **__: Any) -> None:
        self._written = self._received = initial

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def update(self, count: int) -> None:
        """So many more bytes of the file are there."""
        self._written += count
        self.progress.at(max(self._written, self._received))

    def update_transfer(self, count: int) -> None:
        """So many more bytes have come over the network."""
        self._received += count
        self.progress.at(max(self._written, self._received))

    def set_postfix_str(self, *_: Any, **__: Any) -> None:
        """Takes a rate as text, which is not needed."""

    set_transfer_postfix_str = set_postfix_str

    def close(self) -> None:
        """Takes notice of the end, of which `update` has told."""


def _abort_xet() -> None:
    """Ends the download of hf_xet that is under way. huggingface_hub does the same at Ctrl-C, and has no other way."""
    from huggingface_hub.utils._xet import abort_xet_session

    abort_xet_session()  # type: ignore[no-untyped-call]
