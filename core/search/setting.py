"""One setting of a search method as users and files see it. No torch, no pydantic."""

from __future__ import annotations

from dataclasses import dataclass

SettingValue = float | int | str | bool
"""The value of a setting, as a flag, a form or a file gives it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as a form shows it: its name, its default and what it does."""

    name: str
    default: SettingValue
    help: str
