"""The recipe of Caples et al. 2025 written plainly: sae-lens SAEs in hooks of the bridge, and nothing clever.

Every latent at every position has a parameter. Each step runs the whole model twice, for M_s and for the mask, and
encodes and decodes in full: A' = mean + m (A - mean), resid := decode(A'). BOS is left alone. Mean latents and SAE
errors are those of the problem, so that both sides compute the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.task import Split

BASE_TEMPERATURE = 200.0
RATE, LAST_EXPONENT, PENALTY = 0.05, 1.3, 0.05
STEPS = 408
"""Adam's rate, r at the end, lambda, and the steps of a run, as published for agreement across a relative clause."""


class Recipe:
    """The recipe on one problem, every prompt of one length with BOS.

    Attributes:
        thetas: `[position, latent]` for each site.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        device, length = problem.model.device, problem.prompt_sets["train"].clean.tokens.shape[1]
        self.thetas = [torch.ones(length, site.sae.d_sae, device=device).requires_grad_() for site in problem.sites]
        self._means = [theta.detach().new_zeros(theta.shape) for theta in self.thetas]
        for mean, table in zip(self._means, problem.reference_tables, strict=True):
            mean[1:] = table.values
        self._optimiser = torch.optim.Adam(self.thetas, lr=RATE)

    def logit_difference(self, split: Split, prompts: Tensor | slice, masks: Sequence[Tensor] | None) -> Tensor:
        """Logit difference `[prompt]` under `masks`, `[position, latent]` for each site; M_s if None."""
        problem, sets = self.problem, self.problem.prompt_sets[split]
        hooks = [
            (site.hook.replace("hook_resid_post", "hook_out"), self._hook(index, split, prompts, masks))
            for index, site in enumerate(problem.sites)
        ]
        tokens = sets.clean.tokens[prompts]
        logits = problem.model.bridge.run_with_hooks(tokens, fwd_hooks=hooks, return_type="logits")[:, -1].float()
        rows = torch.arange(len(tokens), device=tokens.device)
        return logits[rows, sets.answers.right[prompts]] - logits[rows, sets.answers.wrong[prompts]]

    def _hook(
        self, index: int, split: Split, prompts: Tensor | slice, masks: Sequence[Tensor] | None
    ) -> Callable[..., Tensor]:
        sae, error = self.problem.sites[index].sae.sae, self.problem.splits[split].errors[index]

        def splice(resid: Tensor, hook: object) -> Tensor:
            acts = sae.encode(resid.float())
            if masks is not None:
                acts = self._means[index] + masks[index] * (acts - self._means[index])
            out = sae.decode(acts)
            if error is not None:
                out = out + error[prompts]
            return torch.cat([resid[:, :1], out[:, 1:].to(resid.dtype)], 1)

        return splice

    def step(self, prompts: Tensor | slice = slice(None), progress: float = 0.5) -> None:
        """One optimisation step on train prompts; `progress` is how much of the run is over, 0 to 1."""
        with torch.no_grad():
            full = self.logit_difference("train", prompts, None).mean()
        temperature = BASE_TEMPERATURE ** (LAST_EXPONENT * progress)
        masks = [torch.sigmoid(theta * temperature) for theta in self.thetas]
        loss = (full - self.logit_difference("train", prompts, masks).mean()).abs()
        loss = loss + PENALTY * sum(mask.sum() for mask in masks) / len(masks)
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()

    def hard(self, kept: Tensor) -> list[Tensor]:
        """The 0/1 masks of the circuit `kept` `[node]` bool."""
        space = self.problem.space
        masks = [torch.zeros_like(theta) for theta in self.thetas]
        for node in kept.nonzero()[:, 0].tolist():
            masks[int(space.site[node])][int(space.position[node]) + 1, int(space.latent[node])] = 1.0
        return masks
