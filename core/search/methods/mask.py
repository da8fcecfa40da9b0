"""The default method: one run, no penalty to tune, the user gives the target.

1. Optimise hard masks with a straight-through gradient (`hard_mask.py`) on mini-batches. The loss is the error of the
   mean logit difference (the published loss), plus the mean error of single prompts, so that errors do not cancel, plus
   a penalty on the logarithm of the size that is steered to hold the target.
2. If the circuit misses the target, grow it: add the nodes with the most promising gradients, and if that does not help
   ever more of the nodes that were nearest to being kept (`reach_target.py`).
3. Eliminate (`eliminate.py`): many nodes at a time, then those that a sample of the prompts can do without.
4. Refine: add one node, drop two (`swap_nodes.py`).
5. Eliminate exactly, one node at a time on all search prompts, until none can go.
6. Go on eliminating below the target, for the frontier. If that finds a smaller circuit that reaches the target after
   all, make it minimal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.evaluation.journal import recalled
from circuit_tui.core.runtime.incremental import Increments
from circuit_tui.core.search.eliminate import drop_by_probe, drop_in_bulk, extend_below_target, grow, make_minimal
from circuit_tui.core.search.held_conditions import HeldConditions, HeldFaithfulness
from circuit_tui.core.search.method import SearchMethod, Steps
from circuit_tui.core.search.methods.hard_mask import SURROGATE_WIDTH, TargetPenalty
from circuit_tui.core.search.methods.mask_step import Held, MaskStep
from circuit_tui.core.search.methods.near_nodes import NearNodes
from circuit_tui.core.search.methods.settings import MaskSettings
from circuit_tui.core.search.minibatches import ShuffledBatches
from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.search.probed_circuit import ProbedCircuit
from circuit_tui.core.search.reach_target import make_best_minimal, reach_target
from circuit_tui.core.search.step_runner import StepRunner
from circuit_tui.core.search.swap_nodes import swap_nodes
from circuit_tui.core.views import SearchStage

# Prompts in a step unless the user sets a number. Where prompts are few, the mean of a small batch is mostly noise, and
# what is fitted to noise does not hold on other prompts. Where they are many, a large batch is not worth its time.
BATCH, BATCH_OF_FEW, FEW_PROMPTS = 32, 64, 384
# The first thetas are spread evenly between these in the order of the gradient of the mean logit difference at M_s
# (attribution patching) over some prompts. If all began alike, all would reach the threshold in the same step.
LOWEST_START, HIGHEST_START, START_PROMPTS = 0.1, 1.1, 128
PER_PROMPT_WEIGHT = 0.1
# The optimiser aims a little above the target, so that elimination has something to give away.
AIM_ABOVE = 0.02


def default_batch_size(n_train: int) -> int:
    """How many of `n_train` search prompts a step takes unless the user sets a number."""
    return BATCH_OF_FEW if n_train < FEW_PROMPTS else BATCH


class MaskMethod(SearchMethod[MaskSettings]):
    """Looks for the smallest circuit that reaches the target."""

    def steps(self) -> Steps:
        """Optimises a mask, then improves its circuit by exact evaluations."""
        theta = torch.zeros(len(self.problem.space), device=self.problem.model.device)
        yield from self._optimise(theta)
        circuit = ProbedCircuit(self, (theta > 0).cpu())
        self.offer(circuit.kept, circuit.judgement)
        stages: tuple[tuple[Increments[None], SearchStage, float, float], ...] = (
            (grow(circuit), "eliminate", 0.4, 0.44),
            (reach_target(circuit, theta.argsort(descending=True)), "eliminate", 0.44, 0.45),
            (drop_in_bulk(circuit), "eliminate", 0.45, 0.5),
            (drop_by_probe(circuit), "eliminate", 0.5, 0.6),
            (swap_nodes(circuit, self.settings.refine), "eliminate", 0.6, 0.7),
            (make_minimal(circuit), "eliminate", 0.7, 0.8),
            (extend_below_target(circuit), "frontier", 0.8, 0.96),
            (make_best_minimal(circuit), "eliminate", 0.96, 0.97),
        )
        for stage, name, start, end in stages:
            circuit.share_done = 0.0
            for _ in stage:
                yield self.progress(name, circuit.kept, start + (end - start) * circuit.share_done)
                if self.stopped:  # the stage is left where it is: only finished circuits have been offered
                    return
            if self.stopped:
                return
        if circuit.untried:
            self.notes.append(
                f"{circuit.untried} nodes of this large circuit were not tried alone: some of them may be dispensable."
            )

    def _optimise(self, theta: Tensor) -> Steps:
        """Optimises `theta` `[node]` in place; a node is kept where it is positive.

        Ends before its last step where the mask has settled at the target: a falling learning rate moves it no more.
        """
        n_steps, problem = self.settings.steps, self.problem
        all_nodes = MaskedModel(problem, torch.arange(len(problem.space)))
        batches = ShuffledBatches(problem, self._batch_size, self.generator)
        theta.copy_(self._first_theta(all_nodes)).requires_grad_()
        penalty = TargetPenalty(min(self.spec.target + AIM_ABOVE, 0.99), theta.device, len(self.judge.conditions))
        take_step = MaskStep(theta, penalty, self._held(), n_steps, self.settings.lr)
        draws = "" if self.judge.alone else "each draws an ablation"
        runner = StepRunner(problem, batches, take_step, draws)
        nodes = NearNodes(problem, all_nodes, keep=runner.path == "captured")

        def over() -> bool:
            return self.masks.settled and penalty.smooth >= self.spec.target

        def reads(step: int) -> bool:
            asked = self.masks.due(step, n_steps) or nodes.looks_after(step) or step == n_steps - 1
            return asked or not runner.reads_rarely

        loop = self.loop(
            n_steps, over, reads,
            theta=theta, near=nodes.near, optimiser=take_step.adam, batches=batches, penalty=penalty,
        )  # fmt: skip
        kept, loss, soft = None, None, None
        for step in loop:
            runner.run(nodes.at(step, theta.detach()))
            self.step_path = runner.path
            if reads(step) or kept is None:
                kept, loss, soft = (theta.detach() > 0).cpu(), float(take_step.loss), penalty.smooth
                self.masks.record(step, n_steps, torch.sigmoid(theta.detach() / SURROGATE_WIDTH))
            yield self.progress("optimise", kept, 0.4 * (step + 1) / n_steps, loss=loss, soft=soft)
        theta.requires_grad_(False)

    def _held(self) -> Held:
        if self.judge.alone:
            return HeldFaithfulness(self.train.baselines, self.problem.model.device, PER_PROMPT_WEIGHT)
        return HeldConditions(self.judge, self.generator)

    @property
    def _batch_size(self) -> int:
        return self.settings.batch or default_batch_size(len(self.train))

    def _first_theta(self, masked: MaskedModel) -> Tensor:
        """Theta `[node]` before the first step, spread by the rank of each node's gradient at M_s."""
        gradient = recalled(lambda: self._gradient_of_everything(masked), "gradient of everything")
        share = gradient.abs().argsort().argsort() / max(1, len(gradient) - 1)
        return LOWEST_START + (HIGHEST_START - LOWEST_START) * share

    def _gradient_of_everything(self, masked: MaskedModel) -> Tensor:
        """Gradient `[node]` of the summed logit differences of some prompts, at a mask of ones."""
        everything = torch.ones(len(self.problem.space), device=self.problem.model.device, requires_grad=True)
        n = len(self.train)
        prompts = torch.linspace(0, n - 1, min(n, START_PROMPTS), device=everything.device).long()
        for batch in self.problem.batches("train", prompts, self._batch_size):
            masked.logit_difference(everything, batch).sum().backward()
            masked.release(batch)
        assert everything.grad is not None
        return everything.grad
