"""How many threads a model on a CPU gets, and what for.

Every product of a block is shared out among the threads and waited for. Of a small model one thread has done it before
the others have woken up: they run other batches instead.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache

import torch

from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.saes.site import Site

STEP_PROMPTS = 32
# A thread's share of a block. With less, the demo's search took 24 s on two threads and 19 s on one.
WORTH_A_THREAD = 1e8
"""Floating-point operations."""
# What Python does for a pass of a small model, one thread at a time, is about a fifth of it.
MOST_PARALLEL = 4


def fit_threads(model: LanguageModel, sites: Sequence[Site], longest: int) -> int:
    """Gives torch as many threads as a step over prompts of `longest` tokens keeps busy; at most those it had at first.

    Returns how many batches may run at once on those left over. The number of threads depends on shapes alone, so that
    sums come out the same in every run; ``OMP_NUM_THREADS`` goes first. A block's forward pass takes about 24 d^2
    operations a token (Kaplan et al. 2020, "Scaling Laws", table 1).
    """
    if model.device.type != "cpu" or "OMP_NUM_THREADS" in os.environ:
        return 1
    work = 24 * model.d_model**2 * STEP_PROMPTS * longest
    torch.set_num_threads(max(1, min(_at_first(), int(work // WORTH_A_THREAD))))
    # A change inside a block is made by hooks, which every thread would see; a padded model is a view of each batch.
    alone = model.padding_side == "left" or len(model.devices) > 1 or any(site.inside is not None for site in sites)
    return 1 if alone else min(MOST_PARALLEL, _at_first() // torch.get_num_threads())


@cache
def _at_first() -> int:
    return torch.get_num_threads()
