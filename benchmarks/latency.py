"""What the explorer feels like, measured from outside through a pseudo-terminal.

    python benchmarks/latency.py [--size 80x24] [-n 40] [--task NAME] [--json FILE]

The clock starts just before a key is written and stops at the arrival of the chunk of output that changed the part of
the screen it is about: the list's first columns for a move, the digits of the faithfulness for a toggle. The program
is started a few times and quit during a search; the last time it searches to the end, and in the circuit found the
first node of the list is taken whose switching changes the digits. It lies at the first site as a rule, so that nearly
the whole model has to be run again. Samples during a search are spread over it, and over new ones if one is too short.

Keys come at random intervals of a few tenths of a second: faster than the effects of all nodes are recomputed after a
toggle, so "idle" means no search, not that nothing else is being computed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from pty_terminal import Ending, Terminal

PROGRAM = os.environ.get("CIRCUIT_TUI", str(Path(sys.executable).with_name("circuit-tui")))
STARTS = 3
WARM_UP = 3
GAP = (0.2, 0.4)  # seconds between the last look and the next key
WINDOW = 0.12  # seconds after a key in which nothing is looked at
IDLE = 5.0
NUMBERS = 2  # the row of the strip that holds the numbers
DIGITS = range(7)  # the columns of the faithfulness in it
LEFT = range(12)  # the columns of mark and latent in the list, frame included
STAGE = re.compile(r" (search starting|optimise|eliminate|frontier|score|done|search paused)( [\d.]+/s)?( .* left)? *$")

# The heading of a prompt whose explanation has begun: its number, then below it the row of its clean tokens.
EXPLAINED = re.compile(r" prompt (\d+) .* circuit .*\n.* clean   ")


@dataclass
class Samples:
    """Seconds from key to change, the stage of the search at each, and how many keys changed nothing."""

    seconds: list[float] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    misses: int = 0

    def quantile(self, share: float) -> float:
        """The smallest sample that `share` of the samples do not exceed."""
        return sorted(self.seconds)[max(0, math.ceil(share * len(self.seconds)) - 1)] if self.seconds else math.nan

    def text(self) -> str:
        """p50, p95 and misses, for the table."""
        misses = f", {self.misses} missed" if self.misses else ""
        return f"p50 {self.quantile(0.5) * 1000:.0f} ms, p95 {self.quantile(0.95) * 1000:.0f} ms{misses}"

    def data(self) -> dict[str, Any]:
        """All of it, for JSON."""
        quantiles = {f"p{share:.0%}"[:-1]: self.quantile(share) for share in (0.5, 0.95, 1.0)} if self.seconds else {}
        return {**quantiles, "misses": self.misses, "seconds": self.seconds, "stages": self.stages}


def app_text(terminal: Terminal) -> bool:
    """Whether the first frame is on the screen."""
    return "circuit-tui" in terminal.text(0)


def digits(terminal: Terminal) -> str | None:
    """The faithfulness as it is written on the strip; None for an estimate, which is no answer yet."""
    text = terminal.text(NUMBERS)[DIGITS.start : DIGITS.stop].strip()
    return None if text.startswith(("≈", "…")) else text.rstrip("!")


def ready(terminal: Terminal) -> bool:
    """Whether a circuit is shown, be it the empty one: a search can start."""
    return re.fullmatch(r"-?\d+\.\d+", digits(terminal) or "") is not None


def stage(terminal: Terminal) -> str:
    """What the search under way is doing; empty if there is none."""
    found = STAGE.search(terminal.text(0))
    return found[1] if found else ""


def stepping(terminal: Terminal) -> bool:
    """Whether a search has made its first step."""
    return stage(terminal) not in ("", "search starting")


def searched(terminal: Terminal) -> bool:
    """Whether there is a circuit on the screen and no search is under way; a last toggle may have changed it."""
    return not stage(terminal) and re.search(r"\b[1-9]\d* / \d+", terminal.text(NUMBERS)) is not None


class Explorer:
    """One run of the explorer and what to do with it."""

    def __init__(self, argv: list[str], columns: int, rows: int) -> None:
        # Each its own: what one leaves behind would be offered to the next.
        self._state = tempfile.TemporaryDirectory()
        os.environ["XDG_STATE_HOME"] = os.environ["XDG_CONFIG_HOME"] = self._state.name
        self.terminal, self._columns, self._rows = Terminal(argv, columns, rows), columns, rows
        # The upper half of the list is on the screen in every layout.
        self._list = range(NUMBERS + 3, rows // 2)

    def opened(self) -> tuple[float, float]:
        """Waits until a search can start; seconds from the start to the first frame and to here."""
        terminal = self.terminal
        first = terminal.until(app_text, 30)
        return first - terminal.started, terminal.until(ready, 120) - terminal.started

    def start_search(self) -> None:
        """Starts a search and goes back to the list, which a small screen then no longer shows."""
        self.terminal.press("s")
        self.terminal.until(stepping, 30)
        self.terminal.press("1")
        self.pause(0.5)

    def quit(self) -> Ending:
        """Quits during a search or with an unsaved circuit: it asks first; timed from the answer."""
        self.terminal.press("q")
        self.pause(0.5)
        ending = self.terminal.end("q")
        self._state.cleanup()
        return ending

    def pause(self, seconds: float) -> None:
        """Lets time pass and takes note of what the screen shows then."""
        self.terminal.listen(seconds)
        self.terminal.catch_up()

    def settle(self, longest: float = 10.0) -> None:
        """Waits until nothing has been written for half a second, `longest` seconds at most."""
        end, received = time.monotonic() + longest, -1
        while received != self.terminal.received and time.monotonic() < end:
            received = self.terminal.received
            self.pause(0.5)

    def listed(self, terminal: Terminal) -> tuple[object, ...]:
        """The first columns of the list, with the cursor."""
        return terminal.cells(self._list, LEFT)

    def body(self, terminal: Terminal) -> tuple[object, ...]:
        """Everything below the strip."""
        return terminal.cells(range(NUMBERS + 1, self._rows - 1), range(self._columns))

    def list_changes(self, n: int) -> dict[str, Samples]:
        """Times `n` keys each that filter, sort, show all, switch the pane and, where there is room for it, zoom."""
        found = {}
        for what, keys in (("sort", (".", ",")), ("flat list and back", ("f",)), ("all or kept", ("a",))):
            self.terminal.press("g")
            found[what] = self.sample(alternating(*keys), self.body, n, search=False)
        self.terminal.press("/")
        found["filter by a letter"] = self.sample(alternating("4", "backspace"), self.body, n, search=False)
        self.terminal.press("escape")
        found["pane switch"] = self.sample(alternating("5", "1"), self.body, n, search=False)
        if self._columns >= 120 and self._rows >= 28:
            found["zoom"] = self.sample(alternating("z"), self.body, n, search=False)
        return found

    def kept(self) -> int:
        """How many nodes the circuit has, as the strip says."""
        found = re.search(r"\b([\d,]+) / [\d,]+", self.terminal.text(NUMBERS))
        assert found
        return int(found[1].replace(",", ""))

    def explanations(self, n: int) -> Samples:
        """Times `n` prompts from the key to the contribution of the last node on the clean prompt."""
        samples = Samples()
        self.terminal.press("3")
        self.pause(1.0)
        for _ in range(n):
            self.terminal.press("down")
            self.pause(random.uniform(*GAP))
            before = EXPLAINED.search(self.terminal.text())
            pressed = self.terminal.press("enter")

            def explained(terminal: Terminal, before: re.Match[str] | None = before) -> bool:
                text = terminal.text()
                now = EXPLAINED.search(text)
                return now is not None and (before is None or now[1] != before[1]) and " nodes …" not in text

            samples.seconds.append(self.terminal.until(explained, 20) - pressed)
        self.terminal.press("1")
        self.pause(0.5)
        return samples

    def find_node(self) -> None:
        """Puts the cursor on the first node whose switching changes the digits.

        Raises:
            RuntimeError: there is none among the first.
        """
        self.terminal.press("g")
        for _ in range(12):
            self.terminal.press("down")
            self.pause(0.3)
            changes = [self.terminal.response("space", digits, 0.3, 1.0) for _ in range(2)]
            if None not in changes:
                return
        raise RuntimeError(f"no node changes the faithfulness; the screen:\n{self.terminal.text()}")

    def sample(self, keys: Iterator[str], probe: Callable[[Terminal], object], n: int, *, search: bool) -> Samples:
        """Times `n` keys, after a few that do not count. `search`: only such with a search under way all the time."""
        samples, left = Samples(), n + WARM_UP
        while left:
            self.pause(random.uniform(*GAP))
            if search and not stepping(self.terminal):
                self.start_search()
                continue
            under_way = stage(self.terminal)
            seconds = self.terminal.response(next(keys), probe, WINDOW)
            if search and not stepping(self.terminal):  # it ended meanwhile and brought another circuit
                self.until_found()
                continue
            left -= 1
            if left >= n:
                continue
            if seconds is None:
                samples.misses += 1
            else:
                samples.seconds.append(seconds)
                samples.stages.append(under_way)
        return samples

    def until_found(self) -> None:
        """Waits until the search has ended, then chooses a node of what it found."""
        self.terminal.catch_up()
        if not searched(self.terminal):
            self.terminal.until(searched, 120)
        self.pause(1.5)  # a notice may lie over the list
        self.find_node()


def alternating(*keys: str) -> Iterator[str]:
    """The keys in turn, for ever."""
    while True:
        yield from keys


def output_in_search(explorer: Explorer, longest: float = 4.0) -> tuple[float, dict[str, Any]]:
    """Searches in an explorer that is open; returns the bytes written in a second of it, and how that was measured.

    From half a second after the first step, for `longest` seconds at most and not up to the end, which shows a result.
    Before the search, what else is computed after opening is waited for.

    Raises:
        TimeoutError: no search began, or it was over too soon.
    """
    explorer.settle()
    explorer.start_search()
    begun, stages = (time.monotonic(), explorer.terminal.received), list[str]()
    marks = [begun]
    while stepping(explorer.terminal) and time.monotonic() - begun[0] < longest:
        stages.append(stage(explorer.terminal))
        marks.append((time.monotonic(), explorer.terminal.received))
        explorer.pause(0.25)
    if len(marks) < 3:
        raise TimeoutError(f"the search was over within half a second of its first step, after {stages}")
    seconds, received = marks[-1][0] - begun[0], marks[-1][1] - begun[1]
    rates = [round((now[1] - then[1]) / (now[0] - then[0])) for then, now in pairwise(marks[1:])]
    return received / seconds, {"seconds": seconds, "stages": list(dict.fromkeys(stages)), "rates": rates}


@dataclass
class Row:
    """One line of the table; `met` is None where there is no bound."""

    what: str
    bound: str
    measured: str
    met: bool | None = None

    def text(self) -> str:
        """The line in Markdown."""
        met = {None: "–", True: "yes", False: "no"}[self.met]
        return f"| {self.what} | {self.bound} | {self.measured} | {met} |"


def measure(argv: list[str], columns: int, rows: int, n: int) -> tuple[list[Row], dict[str, Any]]:
    """Runs everything; the lines of the table and all samples."""
    starts, quits, memory = [], [], []
    for index in range(STARTS):
        explorer = Explorer(argv, columns, rows)
        starts.append(explorer.opened())
        if index == STARTS - 1:
            break
        explorer.terminal.press("s")
        explorer.terminal.until(stepping, 30)
        explorer.pause(1.0 + 4.0 * index)
        quits.append(explorer.quit())
    begun = time.monotonic()
    explorer.start_search()
    explorer.until_found()
    toggles = explorer.sample(alternating("space"), digits, n, search=False)
    moves = explorer.sample(alternating("down", "up"), explorer.listed, n, search=False)
    changes = explorer.list_changes(n)
    why = explorer.explanations(n)
    nodes = explorer.kept()
    explorer.pause(3.0)
    before, since = explorer.terminal.received, time.monotonic()
    explorer.terminal.listen(IDLE)
    idle = (explorer.terminal.received - before) / (time.monotonic() - since)
    busy_toggles = explorer.sample(alternating("space"), digits, n, search=True)
    busy_moves = explorer.sample(alternating("down", "up"), explorer.listed, n, search=True)
    if not stepping(explorer.terminal):
        explorer.start_search()
    before, since = explorer.terminal.received, time.monotonic()
    explorer.terminal.listen(3.0)
    busy = (explorer.terminal.received - before) / (time.monotonic() - since)
    memory = [*quits, explorer.quit()]
    first, opened = [pair[0] for pair in starts], [pair[1] for pair in starts]
    quit_seconds, max_rss = [ending.seconds for ending in quits], max(ending.max_rss for ending in memory)
    table = [
        Row("first frame", "0.5 s", _spread(first), max(first) <= 0.5),
        Row("ready to search", "8 s", _spread(opened), max(opened) <= 8),
        _latency("move, idle", moves, 0.033),
        _latency("move, during a search", busy_moves, 0.033),
        _latency("toggle to new faithfulness, idle", toggles, 0.05),
        _latency("toggle to new faithfulness, during a search", busy_toggles, 0.1),
        *(_latency(f"{what}, idle", samples, 0.033) for what, samples in changes.items()),
        _latency(f"why this answer, {nodes} nodes", why, 1.0),
        Row("output when idle", "10 KB/s", f"{idle / 1000:.2f} KB/s", idle <= 10_000),
        Row("output during a search", "", f"{busy / 1000:.2f} KB/s"),
        Row("quit during a search", "1 s", _spread(quit_seconds), max(quit_seconds) <= 1),
        Row("memory", "", f"{max_rss / 2**20:.0f} MiB at most"),
    ]
    data = {
        "first_frame": first, "ready": opened, "quit": quit_seconds, "max_rss": max_rss, "idle_bytes_per_second": idle,
        "search_bytes_per_second": busy, "move": moves.data(), "move_in_search": busy_moves.data(),
        **{what: samples.data() for what, samples in changes.items()}, "why": why.data(),
        "toggle": toggles.data(), "toggle_in_search": busy_toggles.data(), "seconds": time.monotonic() - begun,
    }  # fmt: skip
    return table, data


def _latency(what: str, samples: Samples, bound: float) -> Row:
    met = samples.quantile(0.95) <= bound and not samples.misses
    return Row(what, f"p95 {bound * 1000:.0f} ms", samples.text(), met)


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} s, at most {max(seconds):.2f} s of {len(seconds)}"


def main() -> int:
    """Parses the command line and prints the table; 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="80x24", help="columns x rows of the terminal")
    parser.add_argument("-n", type=int, default=40, help="keys for each line of the table")
    parser.add_argument("--task", help="a built-in task other than the first")
    parser.add_argument("--json", help="write all samples to this file")
    args = parser.parse_args()
    columns, rows = (int(number) for number in args.size.split("x"))
    argv = [PROGRAM] if args.task is None else [PROGRAM, "explore", "--task", args.task]
    load = os.getloadavg()[0]
    table, data = measure(argv, columns, rows, args.n)
    print("| what | bound | measured | met |\n|---|---|---|---|")
    print("\n".join(row.text() for row in table))
    print(f"\n{args.size}, {args.n} keys a line, {os.cpu_count()} cores, load {load:.1f} before the measurement.")
    if args.json:
        Path(args.json).write_text(json.dumps({"size": args.size, "load": load, **data}, indent=1))
    return 0 if all(row.met is not False for row in table) else 1


if __name__ == "__main__":
    sys.exit(main())
