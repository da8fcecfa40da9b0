"""What a session needs of a device's memory, from shapes alone, and how many prompts fit into one pass.

Weights are exact, and so are the tensors kept of the prompts and of the passes of circuits that are followed
(`incremental_pass.py`, `full_pass.py`). A pass is an estimate: what the backward pass of one
transformer layer keeps is s b h (34 + 5 a s / h) bytes in 16 bit (Korthikanti et al. 2022, "Reducing Activation
Recomputation in Large Transformer Models", section 4.1), s tokens, b prompts, h the width, a the number of heads; and
all latents of one SAE at a time while the session opens. Where it says too little, passes are halved as they run
(`out_of_memory.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from circuit_tui.core.opening.request import OpenRequest

FLOAT32 = 4
SHARE = 0.9
"""Of the free memory at most this much is planned for; allocators need the rest."""


class SiteShape(NamedTuple):
    """One site: the latents of its SAE, the blocks that run before it, and whether it is inside the next."""

    d_sae: int
    depth: int
    inside: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """What the plan needs to know of a model. `weights` counts parameters; `d_key_value` is the width of all keys."""

    weights: int
    d_model: int
    n_layers: int
    n_heads: int
    vocab: int
    sites: tuple[SiteShape, ...]
    d_key_value: int


class SplitShape(NamedTuple):
    """One split: its prompts, their rows of tokens, the tokens of the longest row, and where answers are read."""

    prompts: int
    rows: int
    longest: int
    reads: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes. `a_prompt` is what one more prompt in a pass takes; `batch` how many fit, at most all `n_prompts`.

    `free` is None where the device does not say; everything is then taken to fit. `batch` is 0 if nothing does.
    `followed` is what is kept of the passes of one circuit on the test and one on the train prompts.
    """

    device: str
    free: int | None
    model: int
    saes: int
    prompts: int
    followed: int
    a_prompt: int
    n_prompts: int
    batch: int

    @property
    def fixed(self) -> int:
        """What is needed however few prompts there are in a pass."""
        return self.model + self.saes + self.prompts + self.followed

    @property
    def total(self) -> int:
        """With `batch` prompts in a pass."""
        return self.fixed + self.batch * self.a_prompt


def plan(
    shape: Shape, splits: dict[str, SplitShape], free: int | None, dtype: torch.dtype, device: str,
    request: OpenRequest, trace_share: float,
) -> MemoryPlan:  # fmt: skip
    """The plan for a model of `shape` and prompts of `splits`; a trace may take `trace_share` of what is free then."""
    size, sites = dtype.itemsize, len(shape.sites)
    model = shape.weights * size
    saes = sum(2 * site.d_sae * shape.d_model + site.d_sae + shape.d_model for site in shape.sites) * FLOAT32
    inside = sum(site.inside for site in shape.sites)
    prompts = 0
    for name, split in splits.items():
        resid = split.rows * split.longest * shape.d_model
        prompts += resid * size + split.reads * shape.vocab * FLOAT32
        if name == "train":  # the corrupt side; on both sides what enters each site, and what is read inside a block
            prompts += resid * size * (1 + 2 * (sites + inside))
        if request.errors != "drop":
            prompts += resid * sites * FLOAT32
    longest, n_prompts = (max(each) for each in zip(*((s.longest, s.prompts) for s in splits.values()), strict=True))
    texts = splits["train"].rows // splits["train"].prompts
    a_prompt = texts * bytes_a_prompt(shape, longest, size)
    traceable, followed = not inside and request.padding == "right", 0
    for name in ("test", "train"):  # the circuit on the screen, and beside it that of a search
        traces, inputs = _followed(shape, splits[name], size)
        fits = free is None or traces <= trace_share * (free - model - saes - prompts - followed)
        followed += traces if traceable and fits else inputs
    fixed = model + saes + prompts + followed
    batch = n_prompts if free is None else max(0, min(n_prompts, int((SHARE * free - fixed) // a_prompt)))
    if request.batch is not None:
        batch = min(batch, request.batch)
    return MemoryPlan(device, free, model, saes, prompts, followed, a_prompt, n_prompts, batch)


def _followed(shape: Shape, split: SplitShape, size: int) -> tuple[int, int]:
    """What is kept to follow a circuit on a split: two traces; or, of whole passes, what enters each stop."""
    tokens, streams = split.rows * split.longest, 2 * len(shape.sites) * shape.d_model
    blocks = shape.n_layers - min(site.depth for site in shape.sites)
    stops = len({(site.depth, site.inside) for site in shape.sites})
    return 2 * tokens * (streams + blocks * 2 * shape.d_key_value) * size, tokens * stops * shape.d_model * size


def bytes_a_prompt(shape: Shape, longest: int, size: int) -> int:
    """What a prompt of `longest` tokens takes in a pass of a model whose numbers have `size` bytes."""
    layer = longest * shape.d_model * (34 + 5 * shape.n_heads * longest / shape.d_model) * size / 2
    step = shape.n_layers * layer + shape.vocab * FLOAT32
    opening = layer + 2 * longest * max((site.d_sae for site in shape.sites), default=0) * FLOAT32
    return int(max(step, opening))


def largest_batch(a_prompt: int, n_prompts: int, shares: Mapping[torch.device, float]) -> int | None:
    """How many prompts fit into a pass on devices as they are now, None if all `n_prompts` do.

    Each device runs that one of `shares` of the pass.
    """
    fitting = n_prompts
    for device, share in shares.items():
        free = free_memory(device)
        if free is not None:
            fitting = min(fitting, int(SHARE * free // (a_prompt * share)))
    return None if fitting == n_prompts else max(1, fitting)


def cuda_devices() -> list[torch.device]:
    """All CUDA devices of this machine."""
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def budgets(saes: int) -> dict[int, int]:
    """The bytes that a model may take on each CUDA device, by number, beside SAEs of so many bytes in all.

    Of each device's free memory `SHARE`, less an equal share of the SAEs: each lies beside its block.
    """
    devices = cuda_devices()
    free = {device.index: free_memory(device) or 0 for device in devices}
    return {index: max(0, int(SHARE * size) - saes // len(devices)) for index, size in free.items()}


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on `device`; of a CPU the machine's memory that programs can have. None where unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu" and "SC_AVPHYS_PAGES" in os.sysconf_names:
        try:
            lines = Path("/proc/meminfo").read_text().splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
        except (OSError, StopIteration, ValueError, IndexError):
            return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
