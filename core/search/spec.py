"""How to search: the one description of a search that commands, jobs, runs and audits share. No torch, no pydantic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from circuit_tui.core.choices import ABLATIONS, AblationKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.search.objectives import Objective
from circuit_tui.core.search.registry import method
from circuit_tui.core.search.setting import SettingValue

if TYPE_CHECKING:
    from circuit_tui.core.search.method_settings import MethodSettings

MAX_SEED = 2**63 - 1


class SpecError(UserError, ValueError):
    """A target or seed that no search can have."""


@dataclass(frozen=True, slots=True)
class SearchSpec:
    """How to search.

    Attributes:
        method: the name of the search method.
        target: the value that the first objective must reach on the search prompts, between 0 and 1.
        seed: of every draw.
        settings: settings of the method; those left out have their default.
        objectives: what the circuit must hold, the first with `target`; empty for faithfulness alone.
        ablations: the ablations under which it must hold them, beside that of the problem.
        slack: how much lower the targets are under those.
        templates: whether it must hold them on each template of the search prompts, not on their mean.

    Raises:
        SpecError: the target or the seed is out of range. The method and its settings are checked by `complete`, so
            that files can be read that name methods of another version.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"strict": True, "extra": "forbid", "allow_inf_nan": False}

    method: str
    target: float
    seed: int
    settings: Mapping[str, SettingValue] = field(default_factory=dict)
    objectives: tuple[Objective, ...] = ()
    ablations: tuple[AblationKind, ...] = ()
    slack: float = 0.0
    templates: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise SpecError(f"--target {self.target:g}: must lie between 0 and 1")
        if not 0 <= self.seed <= MAX_SEED:
            raise SpecError(f"--seed {self.seed}: must lie between 0 and 2^63 - 1")
        if self.objectives and self.objectives[0].target != self.target:
            raise SpecError(f"--target {self.target:g}: {self.objectives[0].kind} has {self.objectives[0].target:g}")
        if not 0 <= self.slack < min(each.target for each in self.held):
            raise SpecError(f"--slack {self.slack:g}: must be at least 0 and below every target")
        for kind in self.ablations:
            if kind not in ABLATIONS:
                raise SpecError(f"--ablation {kind}: unknown; choose among {', '.join(ABLATIONS)}")

    @property
    def held(self) -> tuple[Objective, ...]:
        """All objectives: faithfulness at `target` where none are named."""
        return self.objectives or (Objective("logit-diff", self.target),)

    @property
    def held_under_others(self) -> tuple[Objective, ...]:
        """All objectives, with the targets that they have under the other ablations."""
        return tuple(Objective(each.kind, each.target - self.slack) for each in self.held)

    @property
    def faithfulness_alone(self) -> bool:
        """Whether faithfulness under the problem's ablation is all that counts."""
        return [each.kind for each in self.held] == ["logit-diff"] and not self.ablations and not self.templates

    def complete(self) -> SearchSpec:
        """This search with all settings of its method, each of its type: equal complete specs are equal searches.

        Raises:
            UserError: an unknown method or setting, or a value of the wrong type or out of range.
        """
        return replace(self, settings=self.parsed_settings().values())

    def parsed_settings(self) -> MethodSettings:
        """The settings as the method reads them. Raises UserError as `complete` does."""
        return method(self.method).parse_settings(self.settings)

    def quick(self) -> SearchSpec:
        """This search with settings that take a fraction of the time. Raises UserError as `complete` does."""
        return replace(self, settings=method(self.method).quick_settings(self.settings).values())

    def data(self) -> dict[str, Any]:
        """The spec as JSON values; what only some searches have is left out where it has nothing."""
        data = {"method": self.method, "target": self.target, "seed": self.seed, "settings": dict(self.settings)}
        if self.objectives:
            data["objectives"] = [each.data() for each in self.objectives]
        if self.ablations:
            data["ablations"] = list(self.ablations)
        if self.slack:
            data["slack"] = self.slack
        if self.templates:
            data["templates"] = True
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> SearchSpec:
        """The spec that `data` returned. Raises what the constructor raises, or TypeError for a key it has not."""
        objectives = tuple(Objective(**each) for each in data.get("objectives", ()))
        return cls(**{**data, "objectives": objectives, "ablations": tuple(data.get("ablations", ()))})
