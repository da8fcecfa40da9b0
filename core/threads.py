"""How many threads a model on a CPU gets.

Every product of a block is shared out among the threads and waited for. Of a small model one thread has done it before
the others have woken up.
"""

from __future__ import annotations

import os
from functools import cache

import torch

from circuit_tui.core.model import LanguageModel

STEP_PROMPTS = 32
# A thread's share of a block. With less, the demo's search took 24 s on two threads and 19 s on one.
WORTH_A_THREAD = 1e8
"""Floating-point operations."""


def fit_threads(model: LanguageModel, longest: int) -> None:
    """Gives torch as many threads as a step over prompts of `longest` tokens keeps busy; at most those it had at first.

    The number depends on shapes alone, so that sums come out the same in every run; ``OMP_NUM_THREADS`` goes first.
    A block's forward pass takes about 24 d^2 operations a token (Kaplan et al. 2020, "Scaling Laws", table 1).
    """
    if model.device.type != "cpu" or "OMP_NUM_THREADS" in os.environ:
        return
    work = 24 * model.d_model**2 * STEP_PROMPTS * longest
    torch.set_num_threads(max(1, min(_at_first(), int(work // WORTH_A_THREAD))))


@cache
def _at_first() -> int:
    return torch.get_num_threads()
