"""What autograd keeps of an optimisation step."""

from __future__ import annotations

import torch

from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.splice.problem import Problem


def kept_bytes(problem: Problem, prompts: torch.Tensor) -> int:
    """Bytes that autograd keeps of one step over the train `prompts`, each storage once.

    Weights and constants of the batch are left out.
    """
    batch = problem.batch("train", prompts)
    constants = [batch.prefix, *batch.base, *problem.model.bridge.original_model.parameters()]
    left_out = {tensor.untyped_storage().data_ptr() for tensor in constants}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in left_out:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    masked = MaskedModel(problem, torch.arange(len(problem.space)))
    mask = torch.ones(len(problem.space), requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = masked.logit_difference(mask, batch)
    del logits
    return sum(kept.values())
