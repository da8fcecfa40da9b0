"""A circuit on a prompt of the user's: its runs, and the parts of M's answer that the user has opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from circuit_tui.core.attribution.expand import expand
from circuit_tui.core.attribution.parts import Expansion, Target
from circuit_tui.core.attribution.plain_run import PlainRun
from circuit_tui.core.attribution.tree import find_answer, open_run, target_text
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.open_problem import OpenedProblem
from circuit_tui.core.prompting.report import FreePrompt
from circuit_tui.core.prompting.try_prompt import try_prompt
from circuit_tui.core.session.trial_view import TrialView

N_PARTS = 14
"""How many parts of an expansion are listed one by one."""


class Trial:
    """The prompt that is tried. What M does on it is computed once; the circuit's runs whenever they are asked for.

    `circuit` returns the current circuit `[node]` bool and its version.
    """

    def __init__(self, opened: OpenedProblem, circuit: Callable[[], tuple[Tensor, int]]) -> None:
        self._opened, self._circuit = opened, circuit
        self._run: PlainRun | None = None
        self._view: TrialView | None = None

    def begin(self, prompt: FreePrompt) -> TrialView:
        """Returns the trial of `prompt` for the current circuit.

        Raises:
            UserError: neither the circuit can be run on the prompt nor M's answer taken apart.
        """
        prompt.check()
        (kept, version), report, refused = self._circuit(), None, ""
        try:
            report = try_prompt(self._opened, kept, prompt)
        except UserError as error:
            refused = str(error)
        before = self._view
        if before is not None and before.prompt == prompt:
            self._view = replace(before, version=version, report=report, report_refused=refused)
            return self._view
        expansions, tokens, answer, parts_refused = tuple[Expansion, ...](), tuple[str, ...](), "", ""
        try:
            self._run = open_run(self._opened, prompt.text)
            tokens = self._run.texts
            target = find_answer(self._run, prompt)
            answer = target_text(self._run, target)
            expansions = (expand(self._run, target, N_PARTS),)
        except UserError as error:
            if report is None:
                raise UserError(refused) from error
            parts_refused = str(error)
        self._view = TrialView(prompt, version, report, refused, answer, tokens, expansions, parts_refused)
        return self._view

    def expand(self, target: Target) -> TrialView:
        """Returns the trial with `target` taken apart too. Raises UserError if there is no prompt, or as `expand`."""
        if self._view is None or self._run is None:
            raise UserError("no prompt is taken apart yet")
        if all(each.target != target for each in self._view.expansions):
            taken_apart = expand(self._run, target, N_PARTS)
            self._view = replace(self._view, expansions=(*self._view.expansions, taken_apart))
        return self._view
