"""What the settings of a method are: one checked class, from which flags, form and files follow. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from circuit_tui.core.errors import UserError
from circuit_tui.core.search.setting import Setting, SettingValue

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


class MethodSettings(BaseModel):
    """The settings of one method.

    A field's default, its smallest value (`ge`) and its description are what ``--set``, the form and the help show. Its
    alias, if it has one, is its name for users and in files.

    Attributes:
        quick: settings, by their names for users, of a search that takes a fraction of the time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    quick: ClassVar[Mapping[str, SettingValue]] = MappingProxyType({})

    @classmethod
    def parse(cls, method: str, given: Mapping[str, SettingValue]) -> Self:
        """All settings of the method called `method`: `given`, converted to each field's type, and defaults.

        Raises:
            UserError: an unknown setting, or a value of the wrong type or out of range.
        """
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            raise UserError(cls._complaint(method, given, error)) from error

    @classmethod
    def described(cls) -> tuple[Setting, ...]:
        """The settings in the order in which they are defined."""
        return tuple(Setting(name, field.default, field.description or "") for name, field in cls._named().items())

    def values(self) -> dict[str, SettingValue]:
        """The settings by their names for users, as plain JSON values."""
        return self.model_dump(by_alias=True)

    def quickened(self) -> Self:
        """The same settings with `quick` in place of those that are at their default."""
        defaults = {setting.name: setting.default for setting in self.described()}
        at_default = {name for name, value in self.values().items() if value == defaults[name]}
        quick = {name: value for name, value in self.quick.items() if name in at_default}
        return self.model_validate(self.values() | quick)

    @classmethod
    def _named(cls) -> dict[str, FieldInfo]:
        """The fields by their names for users."""
        return {field.alias or name: field for name, field in cls.model_fields.items()}

    @classmethod
    def _complaint(cls, method: str, given: Mapping[str, SettingValue], error: ValidationError) -> str:
        """What is wrong with `given` in one line: an unknown name, or else the first wrong value."""
        fields = cls._named()
        unknown = next((name for name in given if name not in fields), None)
        if unknown is not None:
            return f"--set {unknown}: method {method} has no such setting; it has: {', '.join(fields) or 'none'}"
        first = error.errors()[0]
        name = str(first["loc"][0])
        field = fields[name]
        if first["type"] in ("greater_than_equal", "finite_number"):
            bounds = "".join(f", not below {bound.ge:g}" for bound in field.metadata if hasattr(bound, "ge"))
            return f"--set {name}={given[name]}: must be a finite number{bounds}"
        kind = _KINDS[type(field.default)]
        return f"--set {name}={given[name]}: method {method} needs {kind} there"
