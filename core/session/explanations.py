"""Why the circuit answers a prompt as it does, computed a little at a time: on the prompt, then on its corrupt one."""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.latents.contributions import PromptContributions
from circuit_tui.core.latents.one_prompt import corrupt_problem
from circuit_tui.core.latents.views import Contributions, Explanation, LatentPrompts, PromptEffect
from circuit_tui.core.opening.open_problem import RESAMPLE_SEED
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.task import Split
from circuit_tui.core.tasks.token_text import token_texts


class PromptExplanation:
    """The explanation of one prompt of a split under the circuit `kept` `[node]` bool, as far as it is computed."""

    def __init__(self, problem: Problem, kept: Tensor, prompt: int, split: Split = "test") -> None:
        self.kept, self.prompt = kept, prompt
        self._problem, self._split = problem, split
        self._clean = PromptContributions(problem, kept, split, prompt)
        self._corrupt: PromptContributions | None = None
        self._corrupt_error = ""
        self._view: Explanation | None = None

    @property
    def done(self) -> bool:
        """Whether nothing is left to compute."""
        corrupt_done = bool(self._corrupt_error) or (self._corrupt is not None and self._corrupt.done)
        return self._clean.done and corrupt_done

    def advance(self) -> None:
        """Computes the next contributions; those on the clean prompt come first."""
        self._view = None
        if not self._clean.done:
            self._clean.advance()
        elif self._corrupt is None:
            try:
                problem = corrupt_problem(self._problem, self._split, self.prompt, RESAMPLE_SEED)
            except UserError as error:
                self._corrupt_error = str(error)
            else:
                self._corrupt = PromptContributions(problem, self.kept, "test", 0)
        else:
            self._corrupt.advance()

    def complete(self) -> Explanation:
        """Computes everything that is left and returns it."""
        while not self.done:
            self.advance()
        return self.view()

    def view(self) -> Explanation:
        """Returns what is computed so far; the same object until there is more."""
        if self._view is None:
            self._view = self._explanation()
        return self._view

    def _explanation(self) -> Explanation:
        prompts = self._problem.prompt_sets[self._split]
        pair, row = prompts.pairs[self.prompt], self.prompt * prompts.answers.rows_per_prompt
        corrupt = self._corrupt
        return Explanation(
            prompt=self.prompt,
            text=pair.clean,
            corrupt_text=pair.corrupt,
            right=pair.answer,
            wrong=pair.wrong,
            clean=self._contributions(self._clean, prompts.clean.tokens[row].tolist()),
            corrupt=None if corrupt is None else self._contributions(corrupt, prompts.corrupt.tokens[row].tolist()),
            corrupt_error=self._corrupt_error,
            done=self.done,
        )

    def _contributions(self, computed: PromptContributions, tokens: list[int]) -> Contributions:
        shown = tokens[computed.tokens.start : computed.tokens.stop]
        return Contributions(
            tokens=token_texts(self._problem.model.tokenizer, shown),
            logit_diff=computed.logit_diff,
            nodes=tuple(computed.nodes),
            values=tuple(computed.values.get(node) for node in computed.nodes),
            by_token=tuple(computed.by_token),
        )


class Explanations:
    """The explanation that was asked for last. It belongs to one circuit, which every method takes as `kept`."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._last: PromptExplanation | None = None

    def begin(self, kept: Tensor, prompt: int) -> Explanation:
        """Begins the explanation of a test prompt, or goes on with it; returns what is known so far.

        Raises:
            UserError: there is no such prompt.
        """
        count = len(self._problem.splits["test"])
        if not 0 <= prompt < count:
            raise UserError(f"prompt {prompt}: out of range, there are {count} test prompts, from 0 on")
        last = self._current(kept)
        if last is None or last.prompt != prompt:
            self._last = last = PromptExplanation(self._problem, kept, prompt)
        return last.view()

    def view(self, kept: Tensor) -> Explanation | None:
        """Returns what is known of the prompt that was asked for last; None if that was about another circuit."""
        last = self._current(kept)
        return None if last is None else last.view()

    def advance(self, kept: Tensor) -> bool:
        """Computes the next contributions; returns whether there were any."""
        last = self._current(kept)
        if last is None or last.done:
            return False
        last.advance()
        return True

    def done(self, kept: Tensor) -> bool:
        """Whether nothing is left to compute."""
        last = self._current(kept)
        return last is None or last.done

    def _current(self, kept: Tensor) -> PromptExplanation | None:
        return self._last if self._last is not None and torch.equal(self._last.kept, kept) else None


@incremental
def latent_prompts(live: LiveCircuit, chosen: Tensor) -> Increments[LatentPrompts]:
    """Returns what ablating the nodes `chosen` `[node]` bool does to each prompt of `live`, which is up to date.

    If none of them is kept, it is what adding them does. One site of a batch in each increment.

    Raises:
        UserError: no node is chosen.
    """
    if not chosen.any():
        raise UserError("no nodes are given")
    on = bool((live.kept & chosen).any())
    circuit = live.measured.logit_diff.double()
    other = yield from live.measure_alternative(live.kept & ~chosen if on else live.kept | chosen)
    effect = circuit - other.double() if on else other.double() - circuit
    pairs = live.evaluator.problem.prompt_sets[live.evaluator.split].pairs
    rows = [
        PromptEffect(int(prompt), pair.clean, pair.answer, pair.wrong, float(circuit[at]), float(effect[at]))
        for at, prompt in enumerate(live.evaluator.prompts.tolist())
        for pair in (pairs[int(prompt)],)
    ]
    rows.sort(key=lambda row: -abs(row.effect))
    gap = live.evaluator.baselines.gap
    return LatentPrompts(
        nodes=tuple(chosen.nonzero()[:, 0].tolist()),
        kept=on,
        prompts=tuple(rows),
        faithfulness=float(effect.mean()) / gap if gap else float("nan"),
        interval=live.evaluator.interval(effect),
    )
