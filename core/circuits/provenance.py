"""Where a circuit came from: made by hand, found by a search, or read from a file; and whether it was edited since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from circuit_tui.core.choices import AblationKind, ObjectiveKind
from circuit_tui.core.circuits.schema import CircuitFile, MethodPart
from circuit_tui.core.views import SearchResult, StepPath


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a circuit was found; by default it was made by hand.

    `nodes` `[node]` bool is the circuit as it was found, which shows later edits; None if it was made by hand.
    `objectives` are the kinds and targets of a `SearchSpec`, `ablations`, `slack` and `templates` its own. The other
    fields are those of `MethodPart`.
    """

    method: str = "manual"
    settings: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    seed: int = 0
    target: float | None = None
    reached: bool | None = None
    edited: bool = False
    warnings: tuple[str, ...] = ()
    nodes: Tensor | None = None
    steps: StepPath = ""
    objectives: tuple[tuple[ObjectiveKind, float], ...] = ()
    ablations: tuple[AblationKind, ...] = ()
    slack: float = 0.0
    templates: bool = False

    @classmethod
    def of_search(cls, result: SearchResult, nodes: Tensor) -> Provenance:
        """Returns the provenance of the circuit that a search ended in."""
        return cls(
            result.method, dict(result.settings), result.seed, result.target, result.reached, False, result.warnings,
            nodes, result.step_path, result.objectives, result.ablations, result.slack, result.templates,
        )  # fmt: skip

    @classmethod
    def of_file(cls, file: CircuitFile, nodes: Tensor) -> Provenance:
        """Returns the provenance that a circuit file states."""
        part = file.method
        objectives = tuple((each.kind, each.target) for each in file.objectives)
        templates = any(value.template for each in file.objectives for value in each.values)
        return cls(
            part.name, dict(part.settings), file.seed, part.target, part.reached, part.edited, part.warnings, nodes,
            part.steps or "", objectives, file.ablation.kinds[1:], file.ablation.slack, templates,
        )  # fmt: skip

    def edited_since(self, kept: Tensor) -> bool:
        """Returns whether `kept` `[node]` bool is no longer the circuit that was found."""
        return self.edited or (self.nodes is not None and not torch.equal(self.nodes, kept))

    def part(self, kept: Tensor) -> MethodPart:
        """Returns what the file of the circuit `kept` `[node]` bool says of it."""
        return MethodPart(
            name=self.method,
            settings=dict(self.settings),
            target=self.target,
            reached=self.reached,
            edited=self.edited_since(kept),
            warnings=self.warnings,
            steps=self.steps or None,
        )
