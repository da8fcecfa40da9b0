"""What a device can do at most, and what a piece of work asks of it.

The time that work must take is the larger of its floating-point operations over the peak rate of their dtype and its
bytes over the peak bandwidth. Counted are matrix products alone, forward and backward: two operations for each
multiplication and addition, and each operand and result once.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""``cpu`` is the CPU time of this process, which other programs disturb less: of one thread, the time of the work."""
# NVIDIA's data sheets of the SXM modules: dense, float32 outside of the tensor cores as torch computes it by default.
KNOWN = {
    "H100": (3.35e12, {torch.float32: 67e12, torch.bfloat16: 989e12, torch.float16: 989e12}),
    "H200": (4.8e12, {torch.float32: 67e12, torch.bfloat16: 989e12, torch.float16: 989e12}),
}


@dataclass(frozen=True)
class Work:
    """Operations by dtype, and bytes."""

    flops: Mapping[torch.dtype, int]
    bytes: int


@dataclass(frozen=True)
class Peak:
    """Bytes a second, operations a second by dtype, and where the numbers are from."""

    bandwidth: float
    flops: Mapping[torch.dtype, float]
    source: str

    def bound(self, work: Work) -> tuple[float, str]:
        """The seconds that `work` takes at least, and which of the two binds."""
        by_flops = sum(count / self.flops[dtype] for dtype, count in work.flops.items())
        by_bytes = work.bytes / self.bandwidth
        return max((by_flops, "FLOP/s"), (by_bytes, "bandwidth"))


class _Count(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.flops: dict[torch.dtype, int] = defaultdict(int)
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in flop_registry:
            tensors = [
                part for part in (*args, *(out if isinstance(out, tuple) else (out,))) if isinstance(part, Tensor)
            ]
            self.flops[tensors[-1].dtype] += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
            # What is broadcast is read once.
            self.bytes += sum(min(one.numel() * one.element_size(), one.untyped_storage().nbytes()) for one in tensors)
        return out


def count(run: Callable[[], object], times: int = 1) -> Work:
    """Runs it so many times and counts; the mean of a run."""
    with _Count() as counted:
        for _ in range(times):
            run()
    return Work({dtype: flops // times for dtype, flops in counted.flops.items()}, counted.bytes // times)


def peak_of(
    device: torch.device, clock: str = "wall", dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)
) -> Peak:
    """From a data sheet where the device is known, else measured now: the best of a few matrix products and copies."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for known, (bandwidth, flops) in KNOWN.items():
            if known in name and "PCIe" not in name and "NVL" not in name:
                return Peak(bandwidth, flops, f"data sheet of {known} SXM")
    return measured_peak(device, clock, dtypes)


def measured_peak(device: torch.device, clock: str, dtypes: tuple[torch.dtype, ...]) -> Peak:
    """What a few large matrix products and copies reach now, the best of each."""
    size = 1536 if device.type == "cpu" else 8192
    flops = {}
    for dtype in dtypes:
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        flops[dtype] = 2 * size**3 / best(lambda a=a, b=b: a @ b, device, clock)
    source = torch.randn(1 << 26, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * source.numel() * 4 / best(lambda: target.copy_(source), device, clock)
    return Peak(bandwidth, flops, "measured in this process: matrix products and copies")


def best(run: Callable[[], object], device: torch.device, clock: str, times: int = 6) -> float:
    """Seconds of the fastest of `times` runs after one that warms up."""
    return min([elapsed(run, device, clock) for _ in range(times + 1)][1:])


def elapsed(run: Callable[[], object], device: torch.device, clock: str = "wall", times: int = 1) -> float:
    """Mean seconds of `times` runs, which follow one another: only before and after them the device is waited for."""
    synchronise(device)
    start = CLOCKS[clock]()
    for _ in range(times):
        run()
    synchronise(device)
    return (CLOCKS[clock]() - start) / times


def synchronise(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
