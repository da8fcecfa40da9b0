"""Hard-concrete gates: L0 regularisation with a Lagrangian to a target.

Gates as in Louizos, Welling and Kingma (2018, eqs. 10-12): with u uniform in (0, 1),

    s = sigmoid((log u - log(1 - u) + log a) / beta),   z = clip(s (zeta - gamma) + gamma, 0, 1)
    P(z > 0) = sigmoid(log a - beta log(-gamma / zeta)),   expected size L0 = sum of P(z > 0)

with beta = 2/3, gamma = -0.1, zeta = 1.1. As in Edge Pruning (Bhaskar et al. 2024) the size is held by a Lagrangian
whose multipliers ascend while the gates descend, and the number of nodes asked for is kept at the end, those of the
largest log a:

    min over a, max over l1, l2 of  error + l1 g + l2 g^2,   g = log(L0 / wanted)

`wanted` falls from all candidates to `size` over the first half of the run. Sizes enter as logarithms, since circuits
of 20 and of 2,000 nodes are both looked for. The error is that of `behaviour.py`. Without a size, sizes are bisected,
in their logarithm, for the smallest that reaches the target; each is a training of its own.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.search.behaviour import behaviour_error
from circuit_tui.core.search.methods.settings import HardConcreteSettings
from circuit_tui.core.search.minibatches import ShuffledBatches
from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.search.ranking import prefix
from circuit_tui.core.search.search import Search, Steps
from circuit_tui.core.views import SearchProgress

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
OPEN_AT_START = 2.0
ROUNDS = 6
WARM_UP = 0.5


def sample_gates(log_alpha: Tensor, uniform: Tensor) -> Tensor:
    """The gates z `[node]` that `uniform` `[node]` in (0, 1) draws."""
    stretched = torch.sigmoid((torch.logit(uniform) + log_alpha) / BETA) * (ZETA - GAMMA) + GAMMA
    return stretched.clamp(0, 1)


def expected_size(log_alpha: Tensor) -> Tensor:
    """Expected number of gates that are not zero."""
    return torch.sigmoid(log_alpha - BETA * math.log(-GAMMA / ZETA)).sum()


class SizeLagrangian:
    """Holds the expected size at what is wanted: `size`, after a warm-up in which that falls from `start`."""

    def __init__(self, size: int, start: int, rate: float, n_steps: int) -> None:
        self.size, self.start, self.rate, self.n_steps = size, start, rate, n_steps
        self.linear = self.quadratic = 0.0
        self._step = 0

    def loss(self, error: Tensor, size: Tensor) -> Tensor:
        """What the gates descend: `error` and the expected `size` are those of this step."""
        return error + self.linear * self._excess(size) + self.quadratic * self._excess(size) ** 2

    def ascend(self, size: float) -> None:
        """The multipliers' step of ascent, once the gates have taken theirs."""
        excess = float(self._excess(torch.tensor(size)))
        self.linear += self.rate * excess
        self.quadratic += self.rate * excess**2
        self._step += 1

    def _excess(self, size: Tensor) -> Tensor:
        share = min(1.0, self._step / (WARM_UP * self.n_steps))
        return size.log() - (1 - share) * math.log(self.start) - share * math.log(self.size)

    def state_dict(self) -> dict[str, Any]:
        """What it has come to."""
        return {"linear": self.linear, "quadratic": self.quadratic, "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`."""
        self.linear, self.quadratic, self._step = state["linear"], state["quadratic"], state["step"]


class HardConcreteSearch(Search):
    """Learns gates at one size, or at several in search of the smallest that reaches the target."""

    settings: HardConcreteSettings

    def steps(self) -> Steps:
        """See `Search.steps`."""
        wanted, n_nodes = self.settings.size, len(self.problem.space)
        if wanted > n_nodes:
            raise UserError(f"--set size={wanted}: there are only {n_nodes} candidate nodes")
        if wanted:
            yield from self._train(wanted, 0.0, 0.95)
            return
        too_small, enough = 0, n_nodes
        for round_ in range(ROUNDS):
            size = round(math.sqrt(max(1, too_small) * enough))
            if not too_small < size < enough:
                return
            start, stop = (0.95 * part / ROUNDS for part in (round_, round_ + 1))
            faithfulness = yield from self._train(size, start, stop)
            if self.stopped:
                return
            too_small, enough = (too_small, size) if self.reaches(faithfulness) else (size, enough)

    def _train(self, wanted: int, start: float, stop: float) -> Generator[SearchProgress, None, float]:
        """One training at one size; offers its circuit and returns the faithfulness of that on the search prompts."""
        n_steps, problem, baselines = self.settings.steps, self.problem, self.train.baselines
        device, n_nodes = problem.model.device, len(problem.space)
        log_alpha = torch.full((n_nodes,), OPEN_AT_START, device=device, requires_grad=True)
        lagrangian = SizeLagrangian(wanted, n_nodes, self.settings.rate, n_steps)
        optimiser = torch.optim.Adam([log_alpha], lr=self.settings.lr)
        masked = MaskedModel(problem, torch.arange(n_nodes))
        batches = ShuffledBatches(problem, self.settings.batch, self.generator)
        plain = baselines.plain.logit_diff.to(device)
        gap = baselines.gap
        loop = self.loop(n_steps, log_alpha=log_alpha, optimiser=optimiser, batches=batches, lagrangian=lagrangian)
        for step in loop:
            batch = batches.next()
            uniform = torch.rand(n_nodes, generator=self.generator).clamp(1e-6, 1 - 1e-6)
            measured = masked.logit_difference(sample_gates(log_alpha, uniform.to(device)), batch)
            masked.forget(batch)
            error = behaviour_error(measured, plain[batch.prompts], gap)
            optimiser.zero_grad()
            lagrangian.loss(error, expected_size(log_alpha)).backward()
            optimiser.step()
            lagrangian.ascend(float(expected_size(log_alpha.detach())))
            self.record_mask(step, n_steps, torch.sigmoid(log_alpha.detach()))
            soft = baselines.faithfulness(float(measured.detach().mean()))
            share, kept = start + (stop - start) * (step + 1) / n_steps, (log_alpha.detach() > 0).cpu()
            yield self.progress("optimise", kept, share, loss=float(error.detach()), soft=soft)
        kept = prefix(log_alpha.detach().cpu().argsort(descending=True, stable=True), wanted)
        faithfulness = self.train.faithfulness(kept).result()
        self.offer(kept, faithfulness)
        return faithfulness
