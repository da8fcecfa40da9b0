"""The memory of one pass, from the shapes of model and SAEs alone.

It is an estimate. What the backward pass of one transformer layer keeps is s b h (34 + 5 a s / h) bytes in 16 bit
(Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", section 4.1): s tokens,
b prompts, h the width, a the number of heads. All latents of one SAE at a time are there while the session opens. Where
the estimate is too small, passes are halved as they run (`core/runtime/out_of_memory.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

FLOAT32 = 4
"""Bytes of a number."""


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


def bytes_a_prompt(shape: Shape, longest: int, size: int) -> int:
    """What a prompt of `longest` tokens takes in a pass of a model whose numbers have `size` bytes."""
    layer = longest * shape.d_model * (34 + 5 * shape.n_heads * longest / shape.d_model) * size / 2
    step = shape.n_layers * layer + shape.vocab * FLOAT32
    opening = layer + 2 * longest * max((site.d_sae for site in shape.sites), default=0) * FLOAT32
    return int(max(step, opening))
