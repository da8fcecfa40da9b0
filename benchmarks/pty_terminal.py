"""A terminal for measurements: a program runs in a pseudo-terminal, and what it writes is looked at afterwards.

Reading only stamps each chunk with the time of its arrival. `replay` hands the chunks to an emulator later, one by one,
so that the emulator, which is slow, is never between a key and the clock.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyte

KEYS = {
    "up": b"\x1b[A", "down": b"\x1b[B", "escape": b"\x1b", "enter": b"\r", "space": b" ", "backspace": b"\x7f",
}  # fmt: skip
# What a terminal is asked, and how this one answers: it shows a frame only when the frame is whole, as most do today.
ANSWERS = {
    b"\x1b[?2026$p": b"\x1b[?2026;2$y",
    b"\x1b[6n": b"\x1b[1;1R",
    b"\x1b[c": b"\x1b[?62c",
}
# Control sequences that the emulator would print: private CSI forms, mode questions, strings other than titles.
FOREIGN = re.compile(rb"\x1b\[[<=>][\d;]*[A-Za-z]|\x1b\[\??[\d;]*\$[A-Za-z]|\x1b[P_^].*?\x1b\\", re.DOTALL)
UNFINISHED = re.compile(rb"\x1b(?:\[[\d;?<=>$]*|[P_^\]][^\x07\x1b]*)?$")

Probe = Callable[["Terminal"], object]


@dataclass(frozen=True)
class Ending:
    """How a program ended: the time it took, its exit code (negative: the signal), the most memory it had in bytes."""

    seconds: float
    code: int
    max_rss: int


class Terminal:
    """One program in one terminal.

    Attributes:
        started: when the program was started; all times are those of `time.monotonic`.
        received: how many bytes it has written.
    """

    def __init__(self, argv: Sequence[str], columns: int, rows: int) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._pending: list[tuple[float, bytes]] = []
        self._rest = b""
        self.received = 0
        self.open = True
        self.started = time.monotonic()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            for name in ("LINES", "COLUMNS", "NO_COLOR"):
                os.environ.pop(name, None)
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
            try:
                os.execv(argv[0], list(argv))
            finally:
                os._exit(127)

    # Reading and writing, against the clock

    def press(self, key: str) -> float:
        """Writes a key (its name in `KEYS`, or the character); returns when."""
        data = KEYS.get(key, key.encode())
        now = time.monotonic()
        os.write(self._fd, data)
        return now

    def listen(self, seconds: float) -> None:
        """Takes in what comes within `seconds`, stamped and unread."""
        end = time.monotonic() + seconds
        while self.open and select.select([self._fd], [], [], max(0.0, end - time.monotonic()))[0]:
            try:
                chunk = os.read(self._fd, 1 << 16)
            except OSError:  # the other end is closed
                chunk = b""
            self.open = bool(chunk)
            self.received += len(chunk)
            self._pending.append((time.monotonic(), chunk))
            for question, answer in ANSWERS.items():
                if question in chunk:
                    os.write(self._fd, answer)

    # Looking at what came

    def replay(self) -> Iterator[float]:
        """Shows the unread chunks one after the other; gives the arrival of each once it is on the screen."""
        while self._pending:
            arrived, chunk = self._pending.pop(0)
            data = self._rest + chunk
            unfinished = UNFINISHED.search(data)
            end = unfinished.start() if unfinished else len(data)
            self._rest = data[end:]
            self._stream.feed(FOREIGN.sub(b"", data[:end]))
            yield arrived

    def catch_up(self) -> None:
        """Shows all that has come until now."""
        self.listen(0)
        for _ in self.replay():
            pass

    def text(self, row: int | None = None) -> str:
        """The text of one row, or of all."""
        lines = self.screen.display
        return "\n".join(lines) if row is None else lines[row]

    def cells(self, rows: range, columns: range) -> tuple[object, ...]:
        """Characters and styles of a part of the screen."""
        return tuple(self.screen.buffer[y][x] for y in rows for x in columns)

    def until(self, condition: Callable[[Terminal], object], patience: float) -> float:
        """Waits for a condition on the screen; returns when the chunk came that fulfilled it.

        Raises:
            TimeoutError: it was not fulfilled in `patience` seconds, or the program ended.
        """
        end = time.monotonic() + patience
        while True:
            for arrived in self.replay():
                if condition(self):
                    return arrived
            if time.monotonic() > end or not self.open:
                raise TimeoutError(f"waited in vain for {condition}; the screen:\n{self.text()}")
            self.listen(0.02)

    def response(self, key: str, probe: Probe, window: float, patience: float = 2.0) -> float | None:
        """Presses `key`; seconds until what `probe` sees has changed, or None. What it sees as None is passed over.

        Everything is read for `window` seconds before the first look.
        """
        self.catch_up()
        before = probe(self)
        pressed = self.press(key)
        self.listen(window)
        while True:
            for arrived in self.replay():
                if (seen := probe(self)) is not None and seen != before:
                    self.catch_up()
                    return arrived - pressed
            if time.monotonic() > pressed + patience or not self.open:
                return None
            self.listen(0.02)

    def end(self, key: str, patience: float = 10.0) -> Ending:
        """Presses the key that quits and waits for the process; kills it after `patience` seconds."""
        pressed = self.press(key)
        while time.monotonic() < pressed + patience:
            self.listen(0.005)
            if not self.open:
                time.sleep(0.001)
            if (ending := self._reap(pressed, os.WNOHANG)) is not None:
                return ending
        os.kill(self.pid, signal.SIGKILL)
        ending = self._reap(pressed, 0)
        assert ending is not None
        return ending

    def _reap(self, since: float, options: int) -> Ending | None:
        pid, status, usage = os.wait4(self.pid, options)
        if not pid:
            return None
        seconds = time.monotonic() - since
        os.close(self._fd)
        return Ending(seconds, os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024)
