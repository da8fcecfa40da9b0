"""Graphs of a device's work: recorded once, then replayed with one launch instead of thousands.

A GPU starts a kernel in microseconds, and Python needs more than that to ask for one. What is recorded may not wait for
the device, may not depend on its numbers, and reads and writes tensors that stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from circuit_tui.core.runtime.sending import send


class Graph(Protocol):
    """Recorded work."""

    def replay(self) -> None:
        """Starts the work again, on the tensors that it was recorded with; does not wait for it."""


class Mark(Protocol):
    """A place in the device's queue of work."""

    def synchronize(self) -> None:
        """Waits until the device has come to it."""


class DeviceGraphs(Protocol):
    """Records graphs on one device. No two of them run at once, so they share memory."""

    def warm_up(self, body: Callable[[], None]) -> None:
        """Runs `body` where it will be recorded: libraries make themselves ready the first time."""

    def record(self, body: Callable[[], None]) -> Graph:
        """Records what `body` does, without running it.

        Raises:
            RuntimeError: it does something that cannot be recorded.
        """

    def mark(self) -> Mark:
        """A mark behind all work so far."""

    def send(self, values: Tensor, into: Tensor) -> None:
        """Copies `values` on the CPU to `into` on the device; does not wait for it."""


class CudaGraphs:
    """`DeviceGraphs` of a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with torch.cuda.device(device):
            self._stream, self._pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def warm_up(self, body: Callable[[], None]) -> None:
        """Runs `body` on the stream that records."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            body()
        current.wait_stream(self._stream)

    def record(self, body: Callable[[], None]) -> Graph:
        """Records `body`; other threads may use the device meanwhile."""
        graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.device(self._device),
            torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"),
        ):
            body()
        return graph

    def mark(self) -> Mark:
        """An event on the current stream."""
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._device))
        return event

    def send(self, values: Tensor, into: Tensor) -> None:
        """Copies through memory that the device reads by itself."""
        into.copy_(send(values, self._device))


def graphs_on(devices: Sequence[torch.device]) -> DeviceGraphs | None:
    """What records graphs of work on `devices`; None where that is no single CUDA device."""
    return CudaGraphs(devices[0]) if len(devices) == 1 and devices[0].type == "cuda" else None
