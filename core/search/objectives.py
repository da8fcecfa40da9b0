"""What a circuit can be asked to hold, by name. No torch: the command line and the search form read it.

Every objective is the faithfulness of a quantity q, the ratio of means of Marks et al. 2024 with q in the place of the
logit difference:

    value(C) = (mean q(C) - mean q(0)) / (mean q(M) - mean q(0))

It is 1 for the model and 0 for the empty circuit, so one scale of targets serves all. An objective is reached if its
value is at most 1 - target away from 1. With LD the logit difference of a prompt, right minus wrong, q is

    logit-diff   LD
    kl           -KL(M || C) over the vocabulary where the answer is read
    prob         P(right)
    accuracy     1 where LD > 0, else 0; an optimisation differentiates sigmoid(LD), the probability of the right answer
                 among the two
    per-prompt   -|LD(C) - LD(M)|: errors of single prompts do not cancel
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from circuit_tui.core.choices import OBJECTIVES, ObjectiveKind
from circuit_tui.core.errors import UserError

DEFAULT_TARGETS: Mapping[ObjectiveKind, float] = {
    "logit-diff": 0.95, "kl": 0.9, "prob": 0.95, "accuracy": 0.95, "per-prompt": 0.75,
}  # fmt: skip
"""Those of `kl` and `per-prompt` are the audit's limits for a good line: a tenth and a quarter are left."""
FROM_LOGIT_DIFF: frozenset[ObjectiveKind] = frozenset(("logit-diff", "accuracy", "per-prompt"))
"""Objectives that need no distribution over the vocabulary."""


class ObjectiveError(UserError, ValueError):
    """An objective that no search can have."""


@dataclass(frozen=True, slots=True)
class Objective:
    """One objective of a search: the quantity and the value to reach, between 0 and 1.

    Raises:
        ObjectiveError: the kind is unknown, or the target is out of range.
    """

    kind: ObjectiveKind
    target: float

    def __post_init__(self) -> None:
        if self.kind not in OBJECTIVES:
            close = difflib.get_close_matches(str(self.kind), OBJECTIVES, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ObjectiveError(f"--objective {self.kind}: unknown; {hint}choose among {', '.join(OBJECTIVES)}")
        if not 0 < self.target < 1:
            raise ObjectiveError(f"--target {self.kind}={self.target:g}: must lie between 0 and 1")

    def data(self) -> dict[str, Any]:
        """The objective as JSON values."""
        return {"kind": self.kind, "target": self.target}


def parse_objectives(
    names: str | None, targets: Sequence[str], usual: Mapping[ObjectiveKind, float] = DEFAULT_TARGETS
) -> tuple[Objective, ...]:
    """The objectives that the flags describe, the first of them first.

    Args:
        names: ``--objective``, names with commas between them; None for the logit difference alone.
        targets: each ``--target``: a number for the first objective, or ``NAME=NUMBER``; commas separate several.
        usual: the targets of objectives for which none is given; those it lacks have their default.

    Raises:
        ObjectiveError: an unknown or repeated name, a target that is no number or out of range, or one for an objective
            that is not asked for.
    """
    kinds = [name.strip() for name in ("logit-diff" if names is None else names).split(",")]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise ObjectiveError(f"--objective {names}: {kind} is named twice")
        Objective(kind, 0.5)  # type: ignore[arg-type]  # it says what is wrong with the name
    given: dict[str, float] = {}
    for text in (part.strip() for target in targets for part in target.split(",")):
        name, equals, value = text.rpartition("=")
        kind = name.strip() if equals else kinds[0]
        if kind not in kinds:
            raise ObjectiveError(f"--target {text}: {kind} is not an objective here; they are {', '.join(kinds)}")
        try:
            number = float(value)
        except ValueError:
            raise ObjectiveError(f"--target {text}: not a number") from None
        if kind in given:
            raise ObjectiveError(f"--target {text}: {kind} has a target already")
        if not 0 < number < 1:
            raise ObjectiveError(f"--target {text}: must lie between 0 and 1")
        given[kind] = number
    known: dict[str, ObjectiveKind] = {kind: kind for kind in OBJECTIVES}
    asked = [known[kind] for kind in kinds]
    return tuple(Objective(kind, given.get(kind, usual.get(kind, DEFAULT_TARGETS[kind]))) for kind in asked)
