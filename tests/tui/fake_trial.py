"""A prompt that is tried in a fake session: made-up runs, and parts that add up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from circuit_tui.core.attribution.parts import AttributionPart, Expansion, LatentTarget, LogitTarget, Target
from circuit_tui.core.errors import UserError
from circuit_tui.core.prompting.report import FreePrompt, NextToken, PromptReport, PromptRun
from circuit_tui.core.session.trial_view import TrialView


class FakeTrial:
    """A `TrialLike`. A prompt with the word ``zebra`` is refused; one with ``odd`` has no positions."""

    def __init__(self, version: Callable[[], int], note: Callable[[str], None]) -> None:
        self._version, self._note = version, note
        self._view: TrialView | None = None

    def begin(self, prompt: FreePrompt) -> TrialView:
        self._note("try")
        if "zebra" in prompt.text:
            raise UserError("the prompt has words that are not in the model's vocabulary: zebra")
        words = prompt.text.split()
        report = None if "odd" in words else _report(prompt, words)
        refused = "" if report is not None else "the prompt matches no template; name its positions"
        if self._view is not None and self._view.prompt == prompt:
            self._view = replace(self._view, version=self._version(), report=report, report_refused=refused)
            return self._view
        root = LogitTarget(len(words), 7, None if prompt.answer is None else 8)
        answer = f"logit of runs behind {len(words)}:{words[-1]}"
        tokens = ("<bos>", *words)
        self._view = TrialView(prompt, self._version(), report, refused, answer, tokens, (_expansion(root),), "")
        return self._view

    def expand(self, target: Target) -> TrialView:
        self._note("expand")
        assert self._view is not None
        if all(each.target != target for each in self._view.expansions):
            self._view = replace(self._view, expansions=(*self._view.expansions, _expansion(target)))
        return self._view


def _report(prompt: FreePrompt, words: list[str]) -> PromptReport:
    def run(shift: float) -> PromptRun:
        likeliest = (NextToken(" runs", 0.6 - shift), NextToken(" run", 0.2 + shift))
        return PromptRun(likeliest, shift, None if prompt.answer is None else 2 - 4 * shift)

    positions = (None, *("word" for _ in words))
    faithful = (None, None) if prompt.answer is None else (0.75, 0.8)
    return PromptReport(("<bos>", *words), positions, run(0.0), run(0.05), run(0.1), run(0.4), *faithful, ())


def _expansion(target: Target) -> Expansion:
    """Embeddings below site 0; else two latents of site 0, one through a head, an error and the rest."""
    if isinstance(target, LatentTarget) and target.site == 0:
        parts = [AttributionPart("embedding", 1.5, token=1), AttributionPart("constant", 0.5)]
        return Expansion(target, 2.0, tuple(parts), 0.0)
    site = 1 if isinstance(target, LogitTarget) else 0
    parts = [
        AttributionPart("latent", 3.0, site, 2, 1, None, activation=1.0),
        AttributionPart("latent", -1.0, site, 3, 1, (1, 0), activation=1.0),
        AttributionPart("error", 0.5, site, token=1),
        AttributionPart("others", 1.5, count=40),
    ]
    return Expansion(target, 4.0, tuple(parts), 0.5)
