"""What a search had to hold, as data: the part `objectives` of a circuit file."""

from __future__ import annotations

from circuit_tui.core.choices import AblationKind, ObjectiveKind
from circuit_tui.core.circuits.part import Part


class ObjectiveValuePart(Part):
    """The value of an objective under one ablation: 1 for the model, 0 for the empty circuit.

    `template` names one of several templates that are held each; empty for all prompts. `test` is null where the
    held-out prompts lack the template.
    """

    ablation: AblationKind
    template: str
    train: float
    test: float | None


class ObjectivePart(Part):
    """Something that the search had to hold (`search/objectives.py`). `reached` refers to the search prompts.

    It is the circuit of this file that is measured, also where a person has changed it since.
    """

    kind: ObjectiveKind
    target: float
    reached: bool
    values: tuple[ObjectiveValuePart, ...]
