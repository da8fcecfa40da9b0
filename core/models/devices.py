"""The device and the dtype that a model is loaded on and in."""

from __future__ import annotations

import torch

from circuit_tui.core.choices import DTYPES
from circuit_tui.core.errors import UserError


def pick_device(name: str | None) -> torch.device:
    """The device that ``--device`` names; if None, CUDA where there is one, else the CPU.

    Raises:
        UserError: no such device on this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name}: not a device; use cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: no CUDA on this machine; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices, counted from 0")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"--device {name}: no MPS on this machine; use --device cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"--device {name}: not supported; use cpu, cuda, cuda:N or mps")
    return device


def pick_dtype(name: str | None) -> torch.dtype:
    """The dtype that ``--dtype`` names; float32 if None.

    Raises:
        UserError: not one of `choices.DTYPES`.
    """
    if name is None:
        return torch.float32
    if name not in DTYPES:
        raise UserError(f"--dtype {name}: unknown; use one of {', '.join(DTYPES)}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype
