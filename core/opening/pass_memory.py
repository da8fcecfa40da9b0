"""The memory of one pass, estimated from the shapes of model and SAEs alone.

For the backward pass, every block keeps its activations (`block_bytes`). While a problem opens, all latents of one SAE
at a time are in memory. If the estimate is too small, passes are halved as they run (`core/runtime/out_of_memory.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from circuit_tui.core.runtime.device_memory import block_bytes

FLOAT32 = 4
"""The bytes of a number in float32."""


class SiteShape(NamedTuple):
    """One site: the latents of its SAE, the number of blocks before it, and whether it lies inside the next block."""

    d_sae: int
    depth: int
    inside: bool = False


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a model that a plan needs. `weights` counts parameters; `d_key_value` is the width of all keys."""

    weights: int
    d_model: int
    n_layers: int
    n_heads: int
    vocab: int
    sites: tuple[SiteShape, ...]
    d_key_value: int


def bytes_a_prompt(shape: ModelShape, longest: int, size: int) -> int:
    """Returns the bytes that a prompt of `longest` tokens takes in a pass; the model's numbers have `size` bytes."""
    layer = block_bytes(longest, longest, shape.d_model, shape.n_heads, size)
    step = shape.n_layers * layer + shape.vocab * FLOAT32
    opening = layer + 2 * longest * max((site.d_sae for site in shape.sites), default=0) * FLOAT32
    return int(max(step, opening))
