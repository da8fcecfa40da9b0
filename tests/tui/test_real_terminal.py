"""The explorer in a real pseudo-terminal: first frame, stray output, resizing, signals, quitting."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest

from circuit_tui.tui.app import JOIN_TIMEOUT

SCRIPT = Path(__file__).parent / "explorer_script.py"
JUNK = re.compile(rb"\x1b\[[<>=][0-9;]*[a-zA-Z]|\x1b\[\??[0-9;]*\$[a-z]")  # what pyte would print as text
LEAVE_ALTERNATE = b"\x1b[?1049l"


class Terminal:
    """One run of the script, with its output and the screen that results."""

    def __init__(self, log: Path, *arguments: str, columns: int = 80, rows: int = 24, **environment: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            for name in ("LINES", "COLUMNS", "NO_COLOR"):
                os.environ.pop(name, None)
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", **environment)
            os.execv(sys.executable, [sys.executable, str(SCRIPT), str(log), *arguments])
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.output = b""
        self.status: int | None = None

    def read(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.fd], [], [], min(left, 0.02))[0]:
                continue
            try:
                chunk = os.read(self.fd, 65536)
            except OSError:
                return
            if not chunk:
                return
            self.output += chunk
            self.stream.feed(JUNK.sub(b"", chunk))

    def text(self) -> str:
        return "\n".join(self.screen.display)

    def until(self, condition: Callable[[str], bool], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition(self.text()):
            assert time.monotonic() < end, self.text()
            self.read(0.02)

    def keys(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def ended(self, seconds: float = 60.0) -> None:
        """Wait for the end, and read all output before it."""
        end = time.monotonic() + seconds
        while True:
            self.read(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                self.read(1.0)
                return
            assert time.monotonic() < end, self.text()
            time.sleep(0.005)  # reading does not wait where nothing more can come

    def close(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    running: list[Terminal] = []

    def run(*arguments: str, **options: object) -> Terminal:
        running.append(Terminal(tmp_path / "explorer.log", *arguments, **options))  # type: ignore[arg-type]
        return running[-1]

    yield run
    for terminal in running:
        terminal.close()


def ready(text: str) -> bool:
    return "blocks.0" in text and "faithfulness" in text


def test_open_toggle_resize_and_quit(start: Callable[..., Terminal]) -> None:
    terminal = start("0")
    terminal.until(ready)
    terminal.keys(" ")
    terminal.until(lambda text: "L0 7 on" in text)
    terminal.resize(160, 50)
    terminal.until(lambda text: "Prompts" in text and "by position" in text)
    terminal.resize(70, 20)
    terminal.until(lambda text: "needs 80×24" in text)
    terminal.resize(80, 24)
    terminal.until(ready)
    terminal.keys("q")
    terminal.until(lambda text: "Quit without exporting?" in text)
    terminal.keys("q")
    terminal.ended()
    assert terminal.status == 0
    assert LEAVE_ALTERNATE in terminal.output


@pytest.mark.parametrize("step", [0.04, 600])
def test_quitting_during_a_search_does_not_wait_for_its_step(start: Callable[..., Terminal], step: float) -> None:
    terminal = start(str(step))
    terminal.until(ready)
    terminal.keys("s")
    terminal.until(lambda text: "search starting" in text if step > 1 else "optimise" in text and "step" in text)
    terminal.keys("q")
    terminal.ended()
    assert JOIN_TIMEOUT < 1, "seconds, and nothing else is waited for"
    assert terminal.status == 0
    assert terminal.output.rstrip().endswith(b"\x1b[?1004l")


def test_a_search_writes_no_more_than_it_may_however_fast_its_steps_are(start: Callable[..., Terminal]) -> None:
    """Steps take no time here. Every chart in every frame would be 30 KB a second; one frame is 15."""
    terminal = start("0", columns=120, rows=36)
    terminal.until(ready)
    terminal.keys("s")
    terminal.until(lambda text: "optimise" in text and "step" in text)
    terminal.read(0.5)
    before, begun = len(terminal.output), time.monotonic()
    terminal.read(3.5)
    assert len(terminal.output) - before < 5000 * (time.monotonic() - begun) + 15_000
    shown = terminal.text()
    terminal.until(lambda text: text != shown)


def test_quitting_while_loading_does_not_wait_for_it(start: Callable[..., Terminal]) -> None:
    terminal = start("0", "load")
    terminal.until(lambda text: "importing torch" in text)
    terminal.keys("q")
    terminal.ended()
    assert terminal.status == 0
    assert LEAVE_ALTERNATE in terminal.output


@pytest.mark.parametrize("way", ["SIGTERM", "SIGHUP", "closed", "killed"])
def test_however_it_ends_its_state_is_kept(start: Callable[..., Terminal], tmp_path: Path, way: str) -> None:
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    terminal = start("0.02", "job", **state)
    terminal.until(ready)
    terminal.keys(" s")
    terminal.until(lambda text: "optimise" in text)
    jobs = tmp_path / "state" / "circuit-tui" / "jobs"
    if way == "killed":  # the others must not need the savings of every two seconds
        end = time.monotonic() + 60
        while not list(jobs.glob("*/search/step")) or not list(jobs.glob("*/session.json")):
            assert time.monotonic() < end
            terminal.read(0.05)
        os.kill(terminal.pid, signal.SIGKILL)
    elif way == "closed":
        os.close(terminal.fd)
        terminal.fd = os.open(os.devnull, os.O_RDONLY)
    else:
        os.kill(terminal.pid, getattr(signal, way))
    terminal.ended()
    if way.startswith("SIG"):
        assert terminal.status == 128 + getattr(signal, way)
        assert terminal.output.rindex(LEAVE_ALTERNATE) > terminal.output.rindex(b"optimise")
        assert b"your work is kept" in terminal.output
    (job,) = jobs.iterdir()
    assert json.loads((job / "session.json").read_text())["past"], "the toggle"
    step = int((job / "search" / "step").read_text())
    assert step > 0
    again = start("0.02", "job", **state)
    again.until(lambda text: "A search was cut off" in text)
    again.keys("\r")
    again.until(lambda text: ready(text) and "optimise" in text)
    again.keys("q")
    again.until(lambda text: "leave it running" in text)
    again.keys("q")
    again.ended()
    assert again.status == 0
    assert not list(jobs.iterdir()), "the user has left it"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_the_alternate_screen(start: Callable[..., Terminal], number: int, code: int) -> None:
    terminal = start("0.02")
    terminal.until(ready)
    terminal.keys(" s")
    terminal.until(lambda text: "optimise" in text)
    os.kill(terminal.pid, number)
    terminal.ended()
    assert terminal.status == code
    assert LEAVE_ALTERNATE in terminal.output


def test_it_ends_when_the_terminal_goes_away(start: Callable[..., Terminal]) -> None:
    terminal = start("0.02")
    terminal.until(ready)
    os.close(terminal.fd)
    end = time.monotonic() + 60
    while not (ended := os.waitpid(terminal.pid, os.WNOHANG))[0]:
        assert time.monotonic() < end
        time.sleep(0.02)
    terminal.status = os.waitstatus_to_exitcode(ended[1])
    terminal.fd = os.open(os.devnull, os.O_RDONLY)
    assert terminal.status in (129, -signal.SIGHUP)


def test_nothing_else_can_write_on_the_screen(start: Callable[..., Terminal], tmp_path: Path) -> None:
    terminal = start("0", "noise")
    terminal.until(ready)
    terminal.keys("q")
    terminal.ended()
    assert b"NOISE" not in terminal.output
    assert (tmp_path / "explorer.log").read_text().count("NOISE") == 3


def test_no_color_writes_no_colour(start: Callable[..., Terminal]) -> None:
    terminal = start("0", NO_COLOR="1")
    terminal.until(ready)
    terminal.keys(" ")
    terminal.until(lambda text: "L0 7 on" in text)
    terminal.keys("2")
    terminal.until(lambda text: "by position" in text)
    colours = {
        code
        for codes in re.findall(rb"\x1b\[([0-9;]*)m", terminal.output)
        for code in codes.split(b";")
        if code and ((30 <= int(code) <= 48 and int(code) != 39) or 90 <= int(code) <= 107)
    }
    assert not colours


def test_without_a_terminal_there_is_one_clear_line(tmp_path: Path) -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "log"), "0"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "needs a terminal" in done.stderr
