"""How to search: the one description of a search that commands, jobs, runs and audits share. No torch, no pydantic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from circuit_tui.core.errors import UserError
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
        target: the faithfulness to reach on the search prompts, between 0 and 1.
        seed: of every draw.
        settings: settings of the method; those left out have their default.

    Raises:
        SpecError: the target or the seed is out of range. The method and its settings are checked by `complete`, so
            that files can be read that name methods of another version.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"strict": True, "extra": "forbid", "allow_inf_nan": False}

    method: str
    target: float
    seed: int
    settings: Mapping[str, SettingValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise SpecError(f"--target {self.target:g}: must lie between 0 and 1")
        if not 0 <= self.seed <= MAX_SEED:
            raise SpecError(f"--seed {self.seed}: must lie between 0 and 2^63 - 1")

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
        """The spec as JSON values."""
        return {"method": self.method, "target": self.target, "seed": self.seed, "settings": dict(self.settings)}
