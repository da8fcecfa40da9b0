"""How often the host waits for the device in a piece of work.

On CUDA: calls that torch itself reports as synchronising (copies to the host, `.item()`, `nonzero`), and what the
driver was asked to do, from the profiler. On a CPU nothing waits: counted is what would have to, operations whose
result or whose size depends on data, those on the host's own tensors among them.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from device_peak import synchronise
from torch.utils._python_dispatch import TorchDispatchMode

DATA_DEPENDENT = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "_unique2", "unique_dim", "masked_select"}
SYNCHRONISING = "called a synchronizing CUDA operation"
DRIVER_CALL = re.compile(r"^cuda[A-Z]\w+")


class _DataDependent(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._overloadpacket.__name__
        if name in DATA_DEPENDENT:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def host_waits(run: Callable[[], object], times: int, device: torch.device) -> tuple[float, dict[str, Any]]:
    """The mean number of waits in one of `times` runs, and what they were."""
    synchronise(device)
    if device.type != "cuda":
        with _DataDependent() as counted:
            for _ in range(times):
                run()
        kinds = {name: count / times for name, count in sorted(counted.found.items())}
        return sum(kinds.values()), {"counted": "operations that depend on data, on a CPU", **kinds}
    waits = _synchronising_calls(run, times, device)
    return waits, {"counted": "synchronising calls that torch reports", **_driver_calls(run, times, device)}


def _synchronising_calls(run: Callable[[], object], times: int, device: torch.device) -> float:
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            for _ in range(times):
                run()
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    synchronise(device)
    return sum(SYNCHRONISING in str(warning.message) for warning in caught) / times


def _driver_calls(run: Callable[[], object], times: int, device: torch.device) -> dict[str, float]:
    """Calls of CUDA's runtime in one run, by name; empty where the profiler sees none."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        for _ in range(times):
            run()
    synchronise(device)
    calls = Counter(event.name for event in profiled.events() if DRIVER_CALL.match(event.name))
    return {name: count / times for name, count in calls.most_common(12)}
