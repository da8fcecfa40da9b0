"""What the explorer shows of a circuit on a prompt of the user's."""

from __future__ import annotations

from dataclasses import dataclass

from circuit_tui.core.attribution.parts import Expansion
from circuit_tui.core.prompting.report import FreePrompt, PromptReport


@dataclass(frozen=True, slots=True)
class TrialView:
    """A circuit on a prompt, and M's own answer taken apart.

    Attributes:
        prompt: the prompt.
        version: of the circuit that was run.
        report: the runs; None where the prompt has no positions here, and `report_refused` says why.
        answer: what is taken apart, in words.
        tokens: the text of each token; empty where nothing could be taken apart, and `parts_refused` says why.
        expansions: the first takes the answer apart (the likeliest next token, or the answer less the wrong one); the
            others are of the latents that were opened.
    """

    prompt: FreePrompt
    version: int
    report: PromptReport | None
    report_refused: str
    answer: str
    tokens: tuple[str, ...]
    expansions: tuple[Expansion, ...]
    parts_refused: str
