"""Several circuits in one pass over a batch: rows are circuits times prompts, nodes those of all circuits together.

A pass over few prompts is bound by launches on a GPU, not by arithmetic, so that many circuits take little longer than
one. Each site packs the nodes that any of them has, and a mask `[circuit, slot]` ablates those that a circuit has not:
exact up to rounding. What comes before the first difference is shared (`CircuitPass.evaluate_alternatives`).

On a CPU a pass has one circuit: more rows take as much longer there (`docs/performance.md`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from circuit_tui.core.runtime.device_memory import block_bytes, free_memory
from circuit_tui.core.runtime.sending import send
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.nodes import NodeSpace, Pack
from circuit_tui.core.splice.problem import Problem

WORK_AT_ONCE = {"cuda": 2e13}
"""Floating-point operations that a pass of several circuits may take, by type of device; others run one at a time.

At 400 TFLOP/s that is 50 ms, in one increment for each site: a toggle waits for it no longer than for a search's step.
"""
MOST_CIRCUITS = 64
MEMORY_SHARE = 0.25
"""The circuits of a pass take at most this share of the free memory."""
PASSES_DIFFER, PASSES_DIFFER_IN_16_BITS = 1e-4, 2e-2
"""By how much the faithfulness of a circuit may differ from pass to pass.

In float32 two ways to compute it agree to 1e-5 (`tests/core/`), and this is ten times that. In 16 bits it is taken to
be two percent; nothing was measured on a GPU.
"""
FLOAT32 = 4


class Circuits:
    """The circuits `kept` `[circuit, node]` bool, on the CPU, that one pass runs."""

    def __init__(self, kept: Tensor) -> None:
        self.kept = kept
        self._on_devices: dict[torch.device, Tensor] = {}

    def __len__(self) -> int:
        return len(self.kept)

    @cached_property
    def union(self) -> Tensor:
        """The nodes that any of them has, `[node]` bool."""
        return self.kept[0] if len(self) == 1 else self.kept.any(0)

    @cached_property
    def differing(self) -> Tensor:
        """The nodes that some of them have and others have not, `[node]` bool."""
        return self.union & ~self.kept.all(0)

    def changed(self, current: Tensor) -> Tensor:
        """The nodes in which any of them differs from the circuit `current`, both `[node]` bool."""
        return (self.kept != current).any(0)

    def mask(self, space: NodeSpace, site: int, nodes: Pack) -> Tensor | None:
        """The mask `[circuit, slot]` of the union's `nodes` at `site`, 0 in padding; None if all circuits have them."""
        own = space.of_site(site)
        if len(self) == 1 or nodes.empty or not bool(self.differing[own.start : own.stop].any()):
            return None
        device = nodes.nodes.device
        if device not in self._on_devices:  # one copy for all sites; the last column is that of padding
            padded = torch.cat([self.kept, self.kept.new_zeros(len(self), 1)], dim=1)
            self._on_devices[device] = send(padded.float(), device)
        return self._on_devices[device].index_select(1, nodes.nodes)


def toggled(kept: Tensor, nodes: Sequence[int]) -> Tensor:
    """Returns the circuit `kept` `[node]` bool with each of `nodes` alone toggled, `[circuit, node]` bool."""
    circuits = kept.repeat(len(nodes), 1)
    circuits[torch.arange(len(nodes)), torch.tensor(nodes, dtype=torch.long)] ^= True
    return circuits


def most_at_once(problem: Problem) -> int:
    """Returns how many circuits a pass may run at most on the model's device.

    With left padding it is one: every number of rows would need a pass of its own that records the blocks' arguments.
    """
    model = problem.model
    return MOST_CIRCUITS if model.device.type in WORK_AT_ONCE and model.padding_side == "right" else 1


def may_differ(problem: Problem) -> float:
    """Returns by how much a circuit's faithfulness in a pass of several may be off that in a pass of its own.

    What is decided nearer to a limit than this, a pass of its own decides.
    """
    if most_at_once(problem) == 1:
        return 0.0
    return PASSES_DIFFER if problem.model.dtype == torch.float32 else PASSES_DIFFER_IN_16_BITS


def circuits_at_once(
    problem: Problem, batches: Sequence[Batch], n: int, work: Callable[[int], float], *, every_latent: bool = False
) -> int:
    """Returns how many of the first of `n` circuits a pass over each of `batches` should run, at least 1.

    As many as `WORK_AT_ONCE` allows on the model's device, and as fit there now (`circuit_bytes`). In a pass of the
    first k circuits each takes `work(k)` operations on the largest batch. `every_latent` says that sites encode all
    latents.
    """
    most, count = min(n, most_at_once(problem)), 1
    if most <= 1:
        return 1
    device = problem.model.device
    free = free_memory(device)
    if free is not None:
        most = min(
            most, int(MEMORY_SHARE * free // max(circuit_bytes(problem, batch, every_latent) for batch in batches))
        )
    while count < most:
        more = min(2 * count, most)
        if more * work(more) > WORK_AT_ONCE[device.type]:
            break
        count = more
    return count


def circuit_bytes(problem: Problem, batch: Batch, every_latent: bool) -> int:
    """Returns about how many bytes one more circuit takes in a pass over `batch`, without gradients.

    These are one block's activations, keys and values among them, the rows' constants at each site, all latents of the
    widest SAE if `every_latent` or if it cannot encode some alone, and logits with their logarithms.
    """
    model, tokens = problem.model, batch.n_tokens
    block = block_bytes(tokens, batch.prefix.shape[1], model.d_model, model.n_heads, model.dtype.itemsize)
    constants = tokens * sum(site.sae.d_out for site in problem.sites) * FLOAT32
    encoded = tokens * max(site.sae.d_sae if every_latent or not site.sae.elementwise else 0 for site in problem.sites)
    logits = len(batch.read_rows) * model.n_embeddings
    return int(block + constants + (encoded + 3 * logits) * FLOAT32)
