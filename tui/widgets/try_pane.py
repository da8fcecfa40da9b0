"""The try pane: a prompt of the user's, what the circuit makes of it, and M's answer taken apart in a tree."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.strip import Strip
from textual.widgets import Input

from circuit_tui.core.errors import UserError
from circuit_tui.core.prompting.report import FreePrompt, PromptRun
from circuit_tui.core.session.trial_view import TrialView
from circuit_tui.core.views import CircuitView, NodeTable
from circuit_tui.tui.drawing.line import StyledLine, token_text, wrap
from circuit_tui.tui.drawing.number_text import signed
from circuit_tui.tui.engine.messages import Notice
from circuit_tui.tui.widgets.attribution_list import AttributionList
from circuit_tui.tui.widgets.lines_view import LinesView
from circuit_tui.tui.widgets.search_form import Field

RUNS = (("plain", "M"), ("spliced", "M_s"), ("circuit", "circuit"), ("empty", "∅"))
NAME, NUMBER = 8, 9


class TriedRuns(LinesView):
    """Next tokens, KL and logit difference of M, M_s, the circuit and the empty circuit on the prompt."""

    def __init__(self) -> None:
        super().__init__(id="tried-runs")
        self._trial: TrialView | None = None

    def show(self, trial: TrialView | None) -> None:
        """Show `trial`."""
        if trial is not self._trial:
            self._trial = trial
            self.rebuild()

    def build(self, width: int) -> list[Strip]:
        trial, styles = self._trial, self.pane_styles
        if trial is None:
            return []
        if trial.report is None:
            return [StyledLine().add(line, styles.warn).strip() for line in wrap(trial.report_refused, width)]
        head = StyledLine().left("", NAME, styles.head).right("KL to M", NUMBER, styles.head)
        head.right("log diff", NUMBER, styles.head).add("  likeliest next tokens", styles.head)
        lines = [head.pad_to(width).strip()]
        for field, name in RUNS:
            run: PromptRun = getattr(trial.report, field)
            line = StyledLine().left(name, NAME, styles.strong if field == "circuit" else styles.plain)
            line.right(f"{run.kl:.3f}", NUMBER, styles.plain)
            line.right("–" if run.logit_diff is None else signed(run.logit_diff, 2), NUMBER, styles.plain).add("  ")
            for token in run.likeliest:
                line.add(token_text(token.text), styles.key).add(f" {token.probability:.2f}  ", styles.muted)
            lines.append(line.strip())
        if trial.report.faithfulness is not None:
            against = trial.report.faithfulness, trial.report.faithfulness_spliced
            texts = ["–" if value is None else f"{value:.3f}" for value in against]
            said = f"faithfulness on this prompt {texts[0]}, against M_s {texts[1]}"
            lines.append(StyledLine().add(said, styles.muted).strip())
        return lines


class TryPane(Vertical):
    """Asks for a prompt, and shows a `TrialView`.

    Attributes:
        prompt: the prompt that was asked for last; None before one.
    """

    class Asked(Message):
        """The user has given a prompt."""

    def __init__(self) -> None:
        super().__init__(id="try", classes="pane")
        self.border_title = "Try"
        self.prompt: FreePrompt | None = None
        self._fields = {
            "prompt": Field("prompt", "", "any prompt; enter runs the circuit on it"),
            "answers": Field(
                "answers", "", "a right and a wrong answer: right / wrong; without them the next token counts"
            ),
            "positions": Field(
                "positions", "", "the position of each word, if the prompt matches no template of the task"
            ),
        }

    def compose(self) -> ComposeResult:
        yield self._fields["prompt"]
        with Horizontal(id="try-fields"):
            yield self._fields["answers"]
            yield self._fields["positions"]
        yield TriedRuns()
        yield AttributionList()

    def show(self, trial: TrialView | None, table: NodeTable | None, circuit: CircuitView | None) -> None:
        """Show `trial`; latents of `circuit` are marked."""
        self.query_one(TriedRuns).show(trial)
        self.query_one(AttributionList).show(trial, table, circuit)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        try:
            self.prompt = self._asked()
        except UserError as error:
            self.post_message(Notice(str(error), "error"))
            return
        self.query_one(AttributionList).focus()
        self.post_message(self.Asked())

    def _asked(self) -> FreePrompt:
        """The prompt that the fields describe. Raises UserError for one that nothing can be asked about."""
        text, answers, roles = (self._fields[name].input.value for name in ("prompt", "answers", "positions"))
        parts = [part.strip() for part in answers.split("/")] if answers.strip() else []
        if parts and (len(parts) != 2 or not all(parts)):
            raise UserError("answers: write the right and the wrong one as right / wrong")
        right, wrong = (f" {part}" for part in parts) if parts else (None, None)
        prompt = FreePrompt(text.strip(), tuple(roles.split()), right, wrong)
        prompt.check()
        return prompt
