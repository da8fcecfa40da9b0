"""Hard-concrete gates: L0 regularisation with a Lagrangian to a target.

Gates as in Louizos, Welling and Kingma (2018, eqs. 10-12): with u uniform in (0, 1),

    s = sigmoid((log u - log(1 - u) + log a) / beta),   z = clip(s (zeta - gamma) + gamma, 0, 1)
    P(z > 0) = sigmoid(log a - beta log(-gamma / zeta)),   expected size L0 = sum of P(z > 0)

with beta = 2/3, gamma = -0.1, zeta = 1.1. As in Edge Pruning (Bhaskar et al. 2024) the size is held by a Lagrangian
whose multipliers ascend while the gates descend, and the number of nodes asked for is kept at the end, those of the
largest log a:

    min over a, max over l1, l2 of  error + l1 g + l2 g^2,   g = log(L0 / wanted)

`wanted` falls from all candidates to `size` over the first half of the run. Sizes enter as logarithms, since circuits
of 20 and of 2,000 nodes are both looked for. The error is `objective.faithfulness_loss`. Without a size, sizes are
bisected in their logarithm for the smallest that reaches the target; each size is trained on its own.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.search.method import SearchMethod, Steps
from circuit_tui.core.search.methods.settings import HardConcreteSettings
from circuit_tui.core.search.minibatches import ShuffledBatches
from circuit_tui.core.search.objective import MaskedModel, faithfulness_loss
from circuit_tui.core.search.ranking import prefix
from circuit_tui.core.views import SearchProgress

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
OPEN_AT_START = 2.0
ROUNDS = 6
WARM_UP = 0.5


def sample_gates(log_alpha: Tensor, uniform: Tensor) -> Tensor:
    """The gates z `[node]` for random numbers `uniform` `[node]` in (0, 1)."""
    stretched = torch.sigmoid((torch.logit(uniform) + log_alpha) / BETA) * (ZETA - GAMMA) + GAMMA
    return stretched.clamp(0, 1)


def expected_size(log_alpha: Tensor) -> Tensor:
    """The expected number of gates that are not zero, a scalar, for `log_alpha` `[node]`."""
    return torch.sigmoid(log_alpha - BETA * math.log(-GAMMA / ZETA)).sum()


class SizeLagrangian:
    """Holds the expected size at `size`, after a warm-up in which the wanted size falls from `start`.

    Args:
        size: the wanted number of nodes at the end.
        start: the wanted number at the first step.
        rate: the step size of the multipliers.
        n_steps: how many steps there are.

    Attributes:
        linear: the multiplier l1.
        quadratic: the multiplier l2.
    """

    def __init__(self, size: int, start: int, rate: float, n_steps: int) -> None:
        self.size, self.start, self.rate, self.n_steps = size, start, rate, n_steps
        self.linear = self.quadratic = 0.0
        self._step = 0

    def loss(self, error: Tensor, size: Tensor) -> Tensor:
        """The loss of the gates, a scalar, from this step's `error` and expected `size`, scalars both."""
        return error + self.linear * self._excess(size) + self.quadratic * self._excess(size) ** 2

    def ascend(self, size: float) -> None:
        """Raises the multipliers by one step of ascent, after the gates have taken their step."""
        excess = float(self._excess(torch.tensor(size)))
        self.linear += self.rate * excess
        self.quadratic += self.rate * excess**2
        self._step += 1

    def _excess(self, size: Tensor) -> Tensor:
        share = min(1.0, self._step / (WARM_UP * self.n_steps))
        return size.log() - (1 - share) * math.log(self.start) - share * math.log(self.size)

    def state_dict(self) -> dict[str, Any]:
        """The multipliers and the step."""
        return {"linear": self.linear, "quadratic": self.quadratic, "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.linear, self.quadratic, self._step = state["linear"], state["quadratic"], state["step"]


class HardConcreteMethod(SearchMethod[HardConcreteSettings]):
    """Learns gates at one size, or at several sizes to find the smallest that reaches the target."""

    def steps(self) -> Steps:
        """Trains gates at the size that is set, or bisects sizes.

        Raises:
            UserError: the size that is set exceeds the number of candidate nodes.
        """
        wanted, n_nodes = self.settings.size, len(self.problem.space)
        if wanted > n_nodes:
            raise UserError(f"--set size={wanted}: there are only {n_nodes} candidate nodes")
        if wanted:
            yield from self._train(wanted, 0.0, 0.95)
            return
        too_small, large_enough = 0, n_nodes
        for round_ in range(ROUNDS):
            size = round(math.sqrt(max(1, too_small) * large_enough))
            if not too_small < size < large_enough:
                return
            start, end = (0.95 * part / ROUNDS for part in (round_, round_ + 1))
            score = yield from self._train(size, start, end)
            if self.stopped:
                return
            reached = self.score_reaches(score)
            too_small, large_enough = (too_small, size) if reached else (size, large_enough)

    def _train(self, wanted: int, start: float, end: float) -> Generator[SearchProgress, None, float]:
        """Trains gates at one size and offers their circuit; returns its score on the search prompts.

        `start` and `end` are the shares of the search that are over before and after.
        """
        n_steps, problem, baselines = self.settings.steps, self.problem, self.train.baselines
        device, n_nodes = problem.model.device, len(problem.space)
        log_alpha = torch.full((n_nodes,), OPEN_AT_START, device=device, requires_grad=True)
        lagrangian = SizeLagrangian(wanted, n_nodes, self.settings.rate, n_steps)
        optimiser = torch.optim.Adam([log_alpha], lr=self.settings.lr)
        masked = MaskedModel(problem, torch.arange(n_nodes))
        batches = ShuffledBatches(problem, self.settings.batch, self.generator)
        plain = baselines.plain.logit_diff.to(device)
        loop = self.loop(n_steps, log_alpha=log_alpha, optimiser=optimiser, batches=batches, lagrangian=lagrangian)
        for step in loop:
            batch = batches.next()
            uniform = torch.rand(n_nodes, generator=self.generator).clamp(1e-6, 1 - 1e-6)
            measured = masked.logit_difference(sample_gates(log_alpha, uniform.to(device)), batch)
            masked.release(batch)
            error = faithfulness_loss(measured - plain[batch.prompts], baselines.gap)
            optimiser.zero_grad()
            lagrangian.loss(error, expected_size(log_alpha)).backward()
            optimiser.step()
            lagrangian.ascend(float(expected_size(log_alpha.detach())))
            self.masks.record(step, n_steps, torch.sigmoid(log_alpha.detach()))
            soft = baselines.faithfulness(float(measured.detach().mean()))
            share, kept = start + (end - start) * (step + 1) / n_steps, (log_alpha.detach() > 0).cpu()
            yield self.progress("optimise", kept, share, loss=float(error.detach()), soft=soft)
        kept = prefix(log_alpha.detach().cpu().argsort(descending=True, stable=True), wanted)
        judgement = self.judge.judge(kept).result()
        self.offer(kept, judgement)
        return judgement.score
