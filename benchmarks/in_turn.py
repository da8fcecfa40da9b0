"""Measures several pieces of work in turn: one run of each, then the next round.

What else the machine does then hits all of them alike, and their ratios can be read even where it is busy.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from device_peak import Peak, Work, count, elapsed

VARIED_TIMES = 4
"""How often in a round something runs that is different each time."""
Runs = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Measured:
    """Seconds of one piece of work.

    Attributes:
        low, high: the quarter points.
        extra_bytes: how much more memory than before was in use at the peak of its first run.
        share: the time that the device needs at least over the mean; `binds` says for what. 0 if no operation was
            counted, as where a captured graph is replayed.
    """

    median: float
    low: float
    high: float
    rounds: int
    extra_bytes: int
    share: float
    binds: str
    gflop: float
    gbyte: float

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


def measure(
    runs: Runs, rounds: int, device: torch.device, peak: Peak, clock: str = "wall", varied: tuple[str, ...] = ()
) -> dict[str, Measured]:
    """Medians of `rounds` rounds after one that warms up, takes the peak memory and counts the work.

    What is `varied` does something else each time, and the same again after `varieties(rounds)` times: it runs several
    times in a round, and is counted in all of them. A `prepare` of a run is called before it,
    untimed. `clock` is ``"wall"``, or ``"cpu"`` for the CPU time of this process, which other programs disturb less.
    """
    memory, work = dict[str, int](), dict[str, Work]()

    def first(name: str) -> None:
        work[name] = count(runs[name], varieties(rounds) if name in varied else 1)

    for name in runs:
        memory[name] = extra_memory(partial(first, name), device)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            for _ in range(VARIED_TIMES if name in varied else 1):
                getattr(run, "prepare", lambda: None)()
                seconds[name].append(elapsed(run, device, clock))
    found = {}
    for name, values in seconds.items():
        median = statistics.median(values)
        low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
        least, binds = peak.bound(work[name])
        found[name] = Measured(
            median, low, high, rounds, memory[name], least / statistics.mean(values), binds,
            sum(work[name].flops.values()) / 1e9, work[name].bytes / 1e9,
        )  # fmt: skip
    return found


def varieties(rounds: int) -> int:
    """How many different things what is varied does in so many rounds."""
    return rounds * VARIED_TIMES


def extra_memory(run: Callable[[], object], device: torch.device) -> int:
    """Bytes in use at the peak of `run` beyond those before it: of the device, or resident of this process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    give_back()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak is counted anew from here
    before = _resident("VmRSS")
    run()
    return max(0, _resident("VmHWM") - before)


def give_back() -> None:
    """Returns what the allocator holds and does not use to the system (glibc), so that it counts when used again."""
    library = ctypes.CDLL(ctypes.util.find_library("c"))
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def peak_memory(device: torch.device) -> int:
    """Bytes that the whole process held at its peak since it was last reset, on the device or resident."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident("VmHWM")


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def machine(device: torch.device) -> str:
    """The device by name, and how busy the machine is."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = models[0].split(":")[1].strip() if models else "CPU"
    return f"{name}, {torch.get_num_threads()} of {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
