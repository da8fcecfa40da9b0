"""A monkey at a real terminal: it types, pastes, clicks and resizes at random, and says what went wrong.

By hand: ``python tests/tui/monkey.py EVENTS [SEED] [flags of explorer_script]``.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import select
import signal
import string
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path

SCRIPT = Path(__file__).parent / "explorer_script.py"
LEAVE_ALTERNATE, MOUSE_OFF = b"\x1b[?1049l", b"\x1b[?1000l"
PATIENCE = 60.0  # seconds without a reaction
PROBE_EVERY = 20  # events between two looks whether it still reacts
TAIL = 20_000  # bytes of output that are kept

KEYS = [
    *(c for c in string.printable if c.isprintable() and c != "q"),  # every letter that does or may do something
    *" xiouasrpAwncejkhlgG1234567890\r\t\x1b\x10\x12\x04\x15\x7f" * 2,
    *(f"\x1b[{letter}" for letter in "ABCDHFZ"),
    *(f"\x1b[{number}~" for number in (3, 5, 6, 15)),
    "\x1bOP",
    "é",
    "🧪",
    "\x1b[1;5C",
]
QUITTING = ["q", "\x11", "\x03", "qq", "\x11\x11", "q\x1b", "qe\r", "qb", "qn"]
TEXTS = ["[/", "[/]", "[red]x", "[b", "animals", "L0", "🧪", "\u202eabc\u200f", "a b", "x" * 300, "\\[", "$x {y} %s"]
PASTES = [
    *TEXTS,
    "\x07\x08\x1b]0;t\x07\x1b[31m",
    "one\ntwo\r\nthree",
    "",
    "\n",
    "y" * 100_000,
    "שלום [/] عالم",
    "👩‍👩‍👧" * 20,
]
PHRASES = [
    *(f"/{text}" for text in TEXTS),
    "/[/\x1b",
    "wname\r",
    "w[/]\r",
    "w[red]\r c",
    "ww\re\r",
    "e\r\rr",
    ":L0/20\r",
    ":[/\r",
    "/a\rnnN",
    "C \x1b[B \r",
    "f.r",
    "W",
    "zz[[]]{}",
    "c\r",
    "cj\r",
    "e\r",
    "e\x1b",
    "\x10inv\r\r",
    "\x10\x1b\x1b",
    "\x10[/\r\r",
    "s",
    "sS",
    "spp",
    "4\t\t\t\t9\r",
    "A",
    "AA",
    "5\x1b[D\r",
    "3\x1b[B\r\x1b[B\r",
    "T[/]\r",
    "?qq",
    "a/animals\ro",
]

# Each ended or stopped the explorer once: a size, then what is sent, new sizes, and numbers of seconds to wait.
CLICK_OUTSIDE, CLICK_TOAST = "\x1b[<0;6;2M\x1b[<0;6;2m", "\x1b[<0;70;20M\x1b[<0;70;20m"
SHOWN = [" ", 0.05, "c", 0.1, "\x1b", 0.1]
TWICE = ["\x10", 0.6, "\r\r", 0.5, "\x10", 0.6, "\x1b\x1b", 0.3, "\x10", 0.6, CLICK_OUTSIDE * 2, 0.5, "j"]
Step = str | float | tuple[int, int]
SIZES: list[Step] = [(100, 30), (81, 24), (160, 50), 0.01, (30, 8), (120, 36), 0.005, (80, 24), (250, 80), (80, 24)]
FORMER: dict[str, tuple[tuple[int, int], list[Step]]] = {
    "tab while it opens": ((120, 36), [0.3, *(["\t", 0.05] * 60)]),
    "markup in the filter": ((120, 36), [4.0, "/[/", 0.3, "]", 0.3, "\x1b", "/[/red]\r", 0.3]),
    "a comparison before its screen": ((80, 24), [4.0, "wname\r", 0.5, " c", 0.5, "\x1b", *(SHOWN * 4)]),
    "the palette dismissed twice": ((80, 24), [4.0, *TWICE]),
    "sizes that take turns for ever": ((80, 24), [4.0, "?", *SIZES, "\x1b\x10", *SIZES, "\x1b\x1bw", *SIZES, "\x1b"]),
    "thousands of letters as keys": ((80, 24), [4.0, "\x10" + "y" * 6000, "\x1b\x1b/" + "y" * 6000, "\x1b"]),
    "a click on a toast that goes": ((80, 24), [4.0, *(["c", 0.4, CLICK_TOAST * 2, 0.3] * 3)]),
}


class Failure(Exception):
    """The explorer did what it never should. The message says what, and what was sent last."""


class Explorer:
    """One run of the script in a pty of its own, in the folder `folder`."""

    def __init__(self, folder: Path, *flags: str, size: tuple[int, int] = (80, 24)) -> None:
        self.folder, self.log = folder, folder / "explorer.log"
        self.master, self.slave = pty.openpty()
        self.size = size
        self._set_size(size)
        self.before = termios.tcgetattr(self.slave)
        self.output, self.sent, self.received = b"", b"", 0
        self.restored = {LEAVE_ALTERNATE: False, MOUSE_OFF: False}  # once restored, the terminal echoes what is sent
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os.login_tty(self.slave) if hasattr(os, "login_tty") else self._take_terminal()
            os.chdir(folder)
            for name in ("LINES", "COLUMNS", "NO_COLOR"):
                os.environ.pop(name, None)
            os.environ.update(
                BROWSER="true", TERM="xterm-256color", COLORTERM="truecolor", XDG_STATE_HOME=str(folder / "state")
            )
            os.execv(sys.executable, [sys.executable, str(SCRIPT), str(self.log), "0.002", "guarded", *flags])
        os.set_blocking(self.master, False)

    def _take_terminal(self) -> None:
        os.setsid()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
        for number in range(3):
            os.dup2(self.slave, number)

    def _set_size(self, size: tuple[int, int]) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))

    @property
    def ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                self.read(0.2)
        return self.status is not None

    def read(self, seconds: float) -> None:
        """Take what is written for so long."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if select.select([self.master], [], [], max(0.0, left))[0]:
                try:
                    chunk = os.read(self.master, 65536)
                except OSError:
                    return
                self.received += len(chunk)
                seen = self.output[-32:] + chunk
                self.output = (self.output + chunk)[-TAIL:]
                for code in self.restored:
                    self.restored[code] |= code in seen
            elif left <= 0:
                return

    def send(self, text: str) -> None:
        data = text.encode()
        self.sent = (self.sent + data)[-400:]
        end = time.monotonic() + PATIENCE
        while data and not self.ended:
            try:
                data = data[os.write(self.master, data[:1024]) :]
                end = time.monotonic() + PATIENCE
            except BlockingIOError:
                self.read(0.01)
            if time.monotonic() > end:
                raise self.failure(f"it took no input for {PATIENCE:g} s: {self.stacks()}")

    def resize(self, size: tuple[int, int]) -> None:
        self.size = size
        self._set_size(size)

    def probe(self) -> None:
        """Raise `Failure` unless it draws after a change of size."""
        self.read(0.0)
        before, end = self.received, time.monotonic() + PATIENCE
        width, height = self.size
        self.resize((width - 1 if width > 20 else width + 1, height))
        while self.received == before and not self.ended:
            if time.monotonic() > end:
                raise self.failure(f"no reaction for {PATIENCE:g} s: {self.stacks()}")
            self.read(0.02)

    def stacks(self) -> str:
        """Where its threads and tasks are."""
        os.kill(self.pid, signal.SIGUSR1)
        self.read(2.0)
        file = self.log.with_name(f"{self.log.name}.stacks")
        return file.read_text()[-20000:] if file.exists() else "its main thread answers no signal"

    def close(self) -> None:
        if not self.ended:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)
        os.close(self.slave)

    def quit(self) -> None:
        """Leave it as a user does, and look at what is left behind."""
        end = time.monotonic() + PATIENCE
        while not self.ended:
            self.send("\x11")  # the one key that leaves from everywhere, when pressed twice
            for _ in range(20):
                if not self.ended:
                    self.read(0.05)
            if time.monotonic() > end:
                raise self.failure(f"it did not quit within {PATIENCE:g} s: {self.stacks()}")
        self.check()

    def check(self) -> None:
        """Raise `Failure` if the log holds a traceback, an export is invalid, or the end was not as it should be."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        if "Traceback" in text or "an error in the screen" in text:
            raise self.failure(f"a traceback in the log:\n{text[-6000:]}")
        for file in self.folder.iterdir():
            if file.suffix == ".json":
                try:
                    json.loads(file.read_text())
                except ValueError as error:
                    raise self.failure(f"{file.name}: an invalid export: {error}") from None
        if self.status is None:
            return
        interrupted = self.status == -signal.SIGINT and b"\x03" in self.sent and all(self.restored.values())
        if self.status != 0 and not interrupted:  # ctrl+c is a signal again as soon as the terminal is restored
            raise self.failure(f"it ended with {self.status}")
        if not all(self.restored.values()):
            raise self.failure(f"it left the alternate screen or the mouse on, after {self.output[-300:]!r}")
        if termios.tcgetattr(self.slave)[:4] != self.before[:4]:
            raise self.failure("it did not restore the terminal's settings")

    def failure(self, what: str) -> Failure:
        return Failure(f"{what}\nsent last: {self.sent!r}")


def events(rng: random.Random) -> Iterator[tuple[str, str | tuple[int, int] | float]]:
    """What a monkey does: ``("send", text)``, ``("resize", size)`` and, which is no event, ``("wait", seconds)``."""
    width, height = 80, 24
    while True:
        kind = rng.choices(
            ["key", "burst", "phrase", "mouse", "paste", "resize", "wait", "quit"], [40, 15, 14, 18, 3, 4, 12, 2]
        )[0]
        if kind == "key":
            yield "send", rng.choice(KEYS)
        elif kind == "burst":
            yield "send", "".join(rng.choices(KEYS, k=rng.randint(2, 12)))
        elif kind == "phrase":
            yield "send", rng.choice(PHRASES)
        elif kind == "quit":
            yield "send", rng.choice(QUITTING)
        elif kind == "paste":
            yield "send", f"\x1b[200~{rng.choice(PASTES)}\x1b[201~"
        elif kind == "resize":
            width, height = rng.choice([(80, 24), (120, 36), (160, 50), (rng.randint(20, 250), rng.randint(5, 80))])
            yield "resize", (width, height)
        elif kind == "wait":
            yield "wait", rng.choice([0.0, 0.01, 0.05, 0.2])
        else:
            yield "send", _mouse(rng, width, height)


def _mouse(rng: random.Random, width: int, height: int) -> str:
    """A click, a double or triple one, a drag, a move or a turn of the wheel, now and then outside of the screen."""
    x, y = rng.randint(1, width + 2), rng.choice([rng.randint(1, height + 2), height, height - 2, 1, 4, 5])
    click = f"\x1b[<0;{x};{y}M\x1b[<0;{x};{y}m"
    drag = f"\x1b[<0;{x};{y}M\x1b[<32;{max(1, x - 9)};{y}M\x1b[<0;{max(1, x - 9)};{y}m"
    return rng.choice(
        [click, click * 2, click * 3, drag, f"\x1b[<35;{x};{y}M", f"\x1b[<{rng.choice([64, 65])};{x};{y}M"]
    )


def play(folder: Path, count: int, seed: int, *flags: str) -> int:
    """Do `count` random events, starting the explorer again whenever it is quit; returns how often it was started.

    Raises:
        Failure: it did what it never should.
    """
    rng = random.Random(seed)
    doings, done, starts, explorer = events(rng), 0, 0, None
    try:
        while done < count:
            if explorer is None or explorer.ended:
                if explorer is not None:
                    explorer.check()
                    explorer.close()
                starts += 1
                explorer = Explorer(folder, *flags, size=rng.choice([(80, 24), (120, 36), (160, 50)]))
                start = done
                while not explorer.received and not explorer.ended:  # from the first frame on
                    explorer.read(0.02)
            kind, what = next(doings)
            if isinstance(what, tuple):
                explorer.resize(what)
            elif isinstance(what, float):
                explorer.read(what)
            else:
                explorer.send(what)
            done += kind != "wait"
            if done % PROBE_EVERY == 0:
                explorer.probe()
                explorer.check() if explorer.status is None else None
        assert explorer is not None
        explorer.quit()
    except Failure as error:
        raise Failure(f"seed {seed}, event {done}, the {done - start}th of run {starts}: {error}") from None
    finally:
        if explorer is not None:
            explorer.close()
    return starts


def replay(folder: Path, name: str) -> None:
    """Do what once ended the explorer. Raises `Failure` if it still does."""
    size, steps = FORMER[name]
    explorer = Explorer(folder, "mouse", "slow", size=size)
    try:
        while not explorer.received and not explorer.ended:
            explorer.read(0.02)
        for step in steps:
            if isinstance(step, float):
                explorer.read(step)
            elif isinstance(step, tuple):
                explorer.resize(step)
            else:
                explorer.send(step)
        explorer.read(0.5)
        if explorer.ended:
            raise explorer.failure(f"it ended with {explorer.status}")
        explorer.probe()
        explorer.quit()
    finally:
        explorer.close()


if __name__ == "__main__":
    number, seed, *others = sys.argv[1:] if len(sys.argv) > 2 else [sys.argv[1], str(random.randrange(2**32))]
    print("seed", seed, flush=True)
    with tempfile.TemporaryDirectory() as place:
        print("starts", play(Path(place), int(number), int(seed), "mouse", "slow", *others))
