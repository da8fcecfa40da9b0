"""Everything that is to be measured on a GPU, within six minutes: a table, and one JSON object as the last line.

    benchmarks/gpu.sh [--wheels DIR] [--small] [--device cuda] [--parts demo,gpt2-small,…] [--seconds 345]

Each part has a process and a time limit of its own (`gpu_parts.py`); its rows come one by one, so a part that fails or
runs out of time leaves those it has measured. `--small` rehearses all of it at small shapes, on a CPU too: its numbers
mean nothing. A slow or busy machine needs more `--seconds`, of which each part has its share. The exit code is 1 if a
row that was asked for has no number, whether bounds are met or not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gpu_table import NOT_ASKED_FOR, PartRun, outcomes, report, table

LIMITS = {"demo": 70, "gpt2-small": 85, "gemma-2-2b": 50, "gemma-2-9b": 150}
"""Seconds of each part, in the order in which they run."""
SMALL_LIMITS = {"demo": 100, "gpt2-small": 80, "gemma-2-2b": 50, "gemma-2-9b": 110}
SECONDS, SMALL_SECONDS = 345.0, 280.0
"""Of all parts together, and of what came before."""
SCRIPT = Path(__file__).with_name("gpu_parts.py")


def run_part(command: list[str], limit: float, log: Path) -> PartRun:
    """Runs a command for `limit` seconds at most, with all its processes; what it says goes to `log`."""
    started = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:  # also what it has started, and after an interrupt
            if process.poll() is None or _group_alive(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    seconds = time.monotonic() - started
    if code is None:
        return PartRun(seconds, f"its part ran out of its {limit:.0f} s")
    if code:
        said = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return PartRun(seconds, f"its part ended with {code}: {said[-1] if said else 'it said nothing'}")
    return PartRun(seconds)


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def machine(device: str | None) -> dict[str, Any]:
    """What the numbers were measured on."""
    import torch

    cuda = torch.cuda.is_available() and device != "cpu"
    return {
        "device": torch.cuda.get_device_name() if cuda else f"CPU, {os.cpu_count()} cores",
        "torch": torch.__version__, "cuda": torch.version.cuda, "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Parses the command line, runs the parts and prints what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="small shapes: to see that everything runs")
    parser.add_argument("--device", help="cuda, cuda:N or cpu; by default CUDA where there is one")
    parser.add_argument("--parts", default=",".join(LIMITS), help="those to run, separated by commas")
    parser.add_argument("--seconds", type=float, help="of all parts, whose limits grow with it")
    parser.add_argument("--spent", type=float, default=0.0, help="seconds of these that are over already")
    args = parser.parse_args(argv)
    asked = args.parts.split(",")
    unknown = [name for name in asked if name not in LIMITS]
    if unknown:
        parser.error(f"--parts {unknown[0]}: unknown; there are {', '.join(LIMITS)}")
    limits, most = (SMALL_LIMITS, SMALL_SECONDS) if args.small else (LIMITS, SECONDS)
    started = time.monotonic() - args.spent
    seconds = args.seconds or most
    end = started + seconds
    runs = dict[str, PartRun]()
    flags = [*(["--small"] if args.small else []), *(["--device", args.device] if args.device else [])]
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "outcomes"
        for part in (name for name in LIMITS if name in asked):
            limit = min(limits[part] * seconds / most, end - time.monotonic())
            if limit < 1:
                runs[part] = PartRun(0.0, "no time was left for its part")
                continue
            log = Path(folder) / f"{part}.log"
            print(f"{part}: at most {limit:.0f} s", file=sys.stderr, flush=True)
            runs[part] = run_part([sys.executable, str(SCRIPT), part, str(found), *flags], limit, log)
            print(log.read_text(errors="replace"), file=sys.stderr, end="")
            print(f"{part}: {runs[part].seconds:.0f} s {runs[part].failure}", file=sys.stderr, flush=True)
        rows = report(outcomes(found), runs, rehearsed=args.small)
    took = time.monotonic() - started
    if args.small:
        print("A rehearsal: every shape is a small one, and the numbers say nothing of those in the table.\n")
    print(table(rows))
    print(f"\n{took:.0f} s in all.\n")
    parts = {name: {"seconds": run.seconds, "failure": run.failure} for name, run in runs.items()}
    print(json.dumps({"small": args.small, **machine(args.device), "seconds": took, "parts": parts, "rows": rows}))
    return 0 if all(row["number"] is not None or row["why_not"] == NOT_ASKED_FOR for row in rows) else 1


if __name__ == "__main__":
    # A part has a process group of its own: whoever ends this process must end it, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
