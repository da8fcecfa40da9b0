"""The help: all keys and the meaning of the numbers, on one scrollable page."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.strip import Strip

from circuit_tui.tui.actions import ACTIONS
from circuit_tui.tui.drawing.line import StyledLine, wrap
from circuit_tui.tui.screens.dialog import Dialog
from circuit_tui.tui.widgets.lines_view import ScrollingLines

NAMES = 19  # cells for keys and names
MOVING = (
    ("↑ ↓ j k", "Move the cursor, or scroll"),
    ("→ l enter", "Open a latent into its positions"),
    ("← h", "Close it; then go to the heading of the site"),
    ("backspace", "In the edges, back along the trail"),
    ("→ ←", "On an edge: why a head that carries it looks there; its other heads"),
    ("+ -", "In the graph of edges, fewer or more of them"),
    ("b", "In the graph of edges, groups as one box, or latent by latent"),
    ("g G", "First and last line"),
    ("page up, down", "A page at a time (also ctrl+u, ctrl+d)"),
)
NOTES = (
    (
        "faithfulness",
        "how much of the model's logit difference (right minus wrong answer) the circuit keeps on the test prompts: "
        "(circuit − empty) / (M − empty). M is the model as it is.",
    ),
    (
        "95% CI",
        "the 95% bootstrap interval of the faithfulness over prompts: other prompts of the same kind could give a "
        "number as far off.",
    ),
    (
        "0.71!",
        "a number beyond a limit of the audit, or a faithfulness under the target of the search: yellow is doubtful, "
        "red is bad.",
    ),
    ("vs M_s", "the same against M_s, the model with every SAE spliced in and all its latents on."),
    (
        "completeness",
        "the faithfulness of everything but the circuit. Near 0 is good: nothing that matters was left out.",
    ),
    ("KL", "how far the circuit's next-token distribution is from the model's, in nats."),
    ("accuracy", "the share of test prompts on which the right answer beats the wrong one."),
    ("clean, corrupt", "mean activation of the latent at its position on the clean and on the corrupt train prompts."),
    ("M, M_s, circ.", "the logit difference of a prompt (right minus wrong answer) in each; circ−M is what is lost."),
    ("share", "after an audit: the share of its searches, with other seeds and prompts, that chose the node."),
    ("freq", "the share of clean train prompts on which it fires."),
    ("effect", "the exact drop of test faithfulness when this node alone is ablated. … means it is being computed."),
    (
        "● ◐ ○",
        "on; on at some of its positions; off. A latent's line shows the largest value over its positions.",
    ),
)


class HelpText(ScrollingLines):
    """The text of the help."""

    def build(self, width: int) -> list[Strip]:
        pane_styles = self.pane_styles
        lines: list[Strip] = []
        groups = list(dict.fromkeys(action.group for action in ACTIONS))
        for group in ("Moving", *groups):
            lines.append(StyledLine().add(f" {group}", pane_styles.title).strip())
            rows = MOVING if group == "Moving" else [(a.shown, a.title) for a in ACTIONS if a.group == group]
            for key, text in rows:
                lines += self._entry(key, text, width)
            lines.append(Strip.blank(1))
        lines.append(StyledLine().add(" What the numbers are", pane_styles.title).strip())
        for name, text in NOTES:
            lines += self._entry(name, text, width)
        return lines

    def _entry(self, name: str, text: str, width: int) -> list[Strip]:
        first, *rest = wrap(text, width - NAMES - 3)
        head = StyledLine().add("  ").left(name, NAMES, self.pane_styles.key).add(first).strip()
        return [head, *(StyledLine().pad_to(NAMES + 2).add(more).strip() for more in rest)]


class HelpScreen(Dialog[None]):
    """Shows the help. Escape, enter, q, ? and F1 close it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1,enter", "dismiss(None)", "Close", show=False)
    ]

    def __init__(self) -> None:
        super().__init__(classes="dialog")

    def compose(self) -> ComposeResult:
        with Vertical(classes="box", id="help-box") as box:
            box.border_title = "Help"
            box.border_subtitle = "esc closes"
            yield HelpText()
