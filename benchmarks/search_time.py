"""How long the default search takes on each task of the demo, as a Markdown table.

    python benchmarks/search_time.py [--tasks a,b] [--target 0.95] [--json FILE]

Each task has a process of its own, `circuit-tui find --json`, one after the other, with as many threads as it takes by
itself. `ready` is from the start of the process, imports included, to the first line that is not about loading;
`search` from there to the line after the search. Lines are stamped as they arrive.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from circuit_tui.core.tasks import builtin as tasks

PROGRAM = os.environ.get("CIRCUIT_TUI", str(Path(sys.executable).with_name("circuit-tui")))
LOADING = ("loading", "[")
AFTER_SEARCH = "computing the effect"
READY_BOUND, SEARCH_BOUND = 8.0, 20.0


@dataclass(frozen=True)
class Timed:
    """One task: seconds, and the circuit that was found."""

    task: str
    ready: float
    search: float
    nodes: int
    train: float
    test: float
    reached: bool

    def text(self) -> str:
        """The line of the table."""
        mark = "" if self.reached else " (target not reached)"
        return (
            f"| `{self.task}` | {self.ready:.1f} | {self.search:.1f} | {self.nodes}{mark} | "
            f"{self.train:.3f} | {self.test:.3f} |"
        )


def timed(task: str, target: float, flags: Sequence[str] = ()) -> Timed:
    """Runs the search on one task; `flags` are more for the command.

    Raises:
        RuntimeError: it failed, or did not say what is waited for; with what it said.
    """
    command = [PROGRAM, "find", "--json", "--task", task, "--target", str(target), *flags]
    with tempfile.TemporaryFile("w+") as answer:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=answer, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        lines = [(time.monotonic() - started, line) for line in process.stderr]
        code = process.wait()
        answer.seek(0)
        found = answer.read()
    ready = next((seconds for seconds, line in lines if not line.startswith(LOADING)), None)
    ended = next((seconds for seconds, line in lines if line.startswith(AFTER_SEARCH)), None)
    if code not in (0, 1) or ready is None or ended is None:
        raise RuntimeError(f"{' '.join(command)} ended with {code}:\n{''.join(line for _, line in lines)}")
    circuit = json.loads(found)
    train, test = (circuit["metrics"][split]["faithfulness"] for split in ("train", "test"))
    return Timed(task, ready, ended - ready, circuit["size"], train, test, code == 0)


def main() -> int:
    """Parses the command line and prints the table; 1 if a task takes longer than it should or misses the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(tasks.names()))
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--json", help="write the numbers to this file")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    print("| task | ready, s | search, s | nodes | train f | test f |\n|---|--:|--:|--:|--:|--:|")
    rows = []
    for task in args.tasks.split(","):
        rows.append(timed(task, args.target))
        print(rows[-1].text(), flush=True)
    print(f"\nBounds: ready {READY_BOUND:g} s, search {SEARCH_BOUND:g} s. ", end="")
    print(f"{os.cpu_count()} cores, load {load:.1f} before the measurement.")
    if args.json:
        Path(args.json).write_text(json.dumps({"load": load, "tasks": [asdict(row) for row in rows]}, indent=1))
    return 0 if all(row.ready <= READY_BOUND and row.search <= SEARCH_BOUND and row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
