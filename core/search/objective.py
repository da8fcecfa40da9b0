"""What optimisations differentiate: the logit difference of every prompt as a function of a mask, and the loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.search.minibatches import MiniBatch
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.mask_slots import MaskSlots
from circuit_tui.core.splice.nodes import pack
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.splice.splice import BoundPack, CircuitSplice, Splice, run_spliced

PER_PROMPT_WEIGHT = 0.3


def faithfulness_loss(error: Tensor, gap: float, per_prompt_weight: float = PER_PROMPT_WEIGHT) -> Tensor:
    """The loss of the methods that learn a mask: how far a masked run is from M, in units of faithfulness.

    |mean e| / |gap| + w mean |e| / |gap|,  e = LD(masked) - LD(M),  gap = m(M) - m(empty)

    The first term is |1 - faithfulness|, the published loss; the second keeps errors of single prompts from cancelling.

    Args:
        error: e of each prompt, `[prompt]`.
        gap: the difference of the mean logit differences of M and the empty circuit.
        per_prompt_weight: w.
    """
    return (error.mean().abs() + per_prompt_weight * error.abs().mean()) / abs(gap)


class MaskedModel:
    """The model as a function of a mask over some active nodes; every other node is ablated.

    Fewer active nodes make a step cheaper and its result no less exact: the other nodes are at their reference already.

    Attributes:
        active: the numbers of the active nodes, `[active]` int64 on the CPU, ascending.
        active_on_device: the same on the model's device.
    """

    def __init__(self, problem: Problem, active: Tensor) -> None:
        self.problem = problem
        self.active = active
        space, device = problem.space, problem.model.device
        self.active_on_device = active.to(device)
        self._packs = []
        for index, site in enumerate(problem.sites):
            nodes = problem.space.of_site(index)
            own = active[(active >= nodes.start) & (active < nodes.stop)]
            self._packs.append(pack(space, own, site.sae, problem.n_positions))
        self._slots = MaskSlots(self._packs, active, len(space))
        self._bound: dict[int, tuple[Batch, list[BoundPack]]] = {}

    def logits(self, mask: Tensor, batch: Batch) -> Tensor:
        """Logits `[read, vocab]` under `mask` `[active]`, differentiable in it."""
        splices: list[Splice] = [
            CircuitSplice(nodes, batch.base[index], values)
            for index, (nodes, values) in enumerate(zip(self._nodes(batch), self._slots(mask), strict=True))
        ]
        return run_spliced(self.problem.model, self.problem.sites, batch, splices).result()

    def logit_difference(self, mask: Tensor, batch: Batch | MiniBatch) -> Tensor:
        """Logit difference `[prompt]` under `mask` `[active]`, differentiable in it."""
        return torch.cat([part.logit_difference(self.logits(mask, part)) for part in _parts(batch)])

    def release(self, batch: Batch | MiniBatch) -> None:
        """Frees what is cached for a batch that will not be used again."""
        for part in _parts(batch):
            self._bound.pop(id(part), None)

    def _nodes(self, batch: Batch) -> Sequence[BoundPack]:
        """The packs bound to `batch`. The batch is kept with them, so its identity cannot be reused for another."""
        if id(batch) not in self._bound:
            bound = [
                BoundPack.bind(site, index, batch, self._packs[index]) for index, site in enumerate(self.problem.sites)
            ]
            self._bound[id(batch)] = (batch, bound)
        return self._bound[id(batch)][1]


def faithfulness_gradient(masked: MaskedModel, evaluator: Evaluator, kept: Tensor) -> Tensor:
    """Gradient of faithfulness on the prompts of `evaluator` with respect to the mask, `[node]` on the CPU.

    It is taken at the circuit `kept` `[node]` bool, whose nodes are all active. It is 0 for nodes that are not active.
    """
    mask = kept[masked.active].to(masked.active_on_device.device, torch.float32).requires_grad_()
    for batch in evaluator.batches:
        masked.logit_difference(mask, batch).sum().backward()
    assert mask.grad is not None
    found = torch.zeros(len(kept))
    found[masked.active] = mask.grad.cpu() / (len(evaluator) * evaluator.baselines.gap)
    return found


def _parts(batch: Batch | MiniBatch) -> tuple[Batch, ...]:
    return batch.parts if isinstance(batch, MiniBatch) else (batch,)
