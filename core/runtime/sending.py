"""Sends tensors from the CPU to a device without waiting for the work that the device has still to do."""

from __future__ import annotations

import torch
from torch import Tensor


def send(values: Tensor, device: torch.device) -> Tensor:
    """Returns `values`, a tensor on the CPU, on `device`.

    A GPU reads pinned memory by itself; a copy of any other waits until it has done everything before.
    """
    if device.type == "cpu":
        return values
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)
