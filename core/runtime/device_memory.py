"""What memory devices have: how much is free, how much is used, and what fits into it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from circuit_tui.core.views import MemoryUse

SHARE = 0.9
"""The part of the free memory that is planned for at most; allocators need the rest."""


def largest_batch(a_prompt: int, n_prompts: int, shares: Mapping[torch.device, float]) -> int | None:
    """Returns how many prompts fit into a pass on devices as they are now, None if all `n_prompts` do.

    A prompt takes `a_prompt` bytes; `shares` gives the part of the pass that each device runs.
    """
    fit = n_prompts
    for device, share in shares.items():
        free = free_memory(device)
        if free is not None:
            fit = min(fit, int(SHARE * free // (a_prompt * share)))
    return None if fit == n_prompts else max(1, fit)


def block_bytes(tokens: int, longest: int, d_model: int, n_heads: int, size: int) -> float:
    """Returns the bytes of one block's activations for `tokens` tokens in rows of `longest`, numbers of `size` bytes.

    In 16 bit they are s b h (34 + 5 a s / h), with s tokens in a row, b rows, width h and a heads (Korthikanti et al.
    2022, "Reducing Activation Recomputation in Large Transformer Models", section 4.1).
    """
    return tokens * d_model * (34 + 5 * n_heads * longest / d_model) * size / 2


def cuda_devices() -> list[torch.device]:
    """All CUDA devices of this machine."""
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def budgets(saes: int) -> dict[int, int]:
    """Returns the bytes that a model may take on each CUDA device, by its number, beside `saes` bytes of SAEs in all.

    That is `SHARE` of the device's free memory, less an equal part of the SAEs: each lies beside its block.
    """
    devices = cuda_devices()
    free = {device.index: free_memory(device) or 0 for device in devices}
    return {index: max(0, int(SHARE * size) - saes // len(devices)) for index, size in free.items()}


def free_memory(device: torch.device) -> int | None:
    """Returns the bytes free on `device`, None where unknown; for a CPU, the memory that programs can still get."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu" and "SC_AVPHYS_PAGES" in os.sysconf_names:
        try:
            lines = Path("/proc/meminfo").read_text().splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
        except (OSError, StopIteration, ValueError, IndexError):
            return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def memory_use(devices: Iterable[torch.device]) -> MemoryUse | None:
    """Returns the memory of CUDA devices together, None without any: on a CPU all programs share it."""
    sizes = [torch.cuda.mem_get_info(device) for device in devices if device.type == "cuda"]
    return MemoryUse(sum(total - free for free, total in sizes), sum(total for _, total in sizes)) if sizes else None
