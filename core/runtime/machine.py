"""What this machine computes with."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def device_name(devices: Iterable[torch.device]) -> str:
    """Returns what `devices` are, such as ``2 x NVIDIA H100 80GB HBM3``."""
    import torch

    names = [torch.cuda.get_device_name(each) if each.type == "cuda" else str(each) for each in devices]
    kinds = {name: names.count(name) for name in names}
    return " and ".join(f"{count} x {name}" if count > 1 else name for name, count in kinds.items())


def precise_dtype(device: torch.device) -> torch.dtype:
    """Returns float64; float32 on MPS, which has no float64."""
    import torch

    return torch.float32 if device.type == "mps" else torch.float64


def cores() -> int:
    """Returns how many cores this process may use; in a container they are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
