"""What a circuit makes of one prompt, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from circuit_tui.core.errors import UserError


@dataclass(frozen=True, slots=True)
class FreePrompt:
    """A prompt that need not be of the circuit's task.

    Attributes:
        text: the prompt.
        roles: the role of each of its words; empty to take those of the task's template that matches.
        answer, wrong: a right and a wrong answer, with their leading spaces; both or neither.
        corrupt: a twin of the prompt, for methods that need one.
    """

    text: str
    roles: tuple[str, ...] = ()
    answer: str | None = None
    wrong: str | None = None
    corrupt: str | None = None

    def check(self) -> None:
        """Checks what can be checked without a model.

        Raises:
            UserError: the prompt has no words, one answer stands alone, or there are not as many roles as words.
        """
        if not self.text.strip():
            raise UserError("the prompt has no words")
        if (self.answer is None) != (self.wrong is None):
            raise UserError("--answer and --wrong: give both, or neither")
        words = self.text.split()
        if self.roles and len(words) != len(self.roles):
            raise UserError(f"--roles: {len(self.roles)} names for the {len(words)} words of {self.text!r}")


@dataclass(frozen=True, slots=True)
class NextToken:
    """A token that a run finds likely after the prompt, and its probability."""

    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class PromptRun:
    """One run on the prompt.

    Attributes:
        likeliest: the likeliest next tokens, the likeliest first.
        kl: KL(M || this run) of the next token, in nats.
        logit_diff: log P(answer) - log P(wrong); None without answers.
    """

    likeliest: tuple[NextToken, ...]
    kl: float
    logit_diff: float | None


@dataclass(frozen=True, slots=True)
class ActiveNode:
    """A kept node that fires on the prompt: its number, the index of the token, its activation and its reference."""

    node: int
    token: int
    activation: float
    reference: float


@dataclass(frozen=True, slots=True)
class PromptReport:
    """A circuit on one prompt.

    Attributes:
        tokens: the text of each token, with BOS.
        positions: the position name of each token; None where nothing is spliced.
        plain, spliced, circuit, empty: the runs of M, M_s, the circuit and the empty circuit.
        faithfulness, faithfulness_spliced: on this prompt, against M and against M_s; None without answers, and where
            the gap is zero.
        active: the kept nodes that fire under the circuit, by site, then by token.
    """

    tokens: tuple[str, ...]
    positions: tuple[str | None, ...]
    plain: PromptRun
    spliced: PromptRun
    circuit: PromptRun
    empty: PromptRun
    faithfulness: float | None
    faithfulness_spliced: float | None
    active: tuple[ActiveNode, ...]
