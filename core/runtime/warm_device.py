"""Makes a GPU ready while something else is done: its context and its matrix library take seconds the first time."""

from __future__ import annotations

import logging
import threading

import torch

log = logging.getLogger(__name__)


def warm_up(device: torch.device) -> threading.Thread | None:
    """Multiplies two small matrices on `device` in a thread of its own; returns that, None for a CPU.

    The driver works without Python's lock, so imports go on beside it. If it fails, so will the first real work, which
    says why.
    """
    if device.type == "cpu":
        return None
    thread = threading.Thread(target=_multiply, args=(device,), name="warm-up", daemon=True)
    thread.start()
    return thread


def _multiply(device: torch.device) -> None:
    try:
        small = torch.ones(8, 8, device=device)
        small @ small
    except RuntimeError:
        log.debug("warming up %s failed", device, exc_info=True)
