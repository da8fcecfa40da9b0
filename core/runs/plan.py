"""Plans the runs of a comparison: every method over its own grid, for every seed.

A method is written as its name, followed by settings of its own after colons: ``ig``, ``ig:errors=true``. Its
`MethodInfo.grid` (targets, penalties or sizes) moves it along the frontier. A method without a grid yields circuits of
all sizes in one run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from circuit_tui.core.errors import UserError
from circuit_tui.core.search.registry import method
from circuit_tui.core.search.setting import SettingValue
from circuit_tui.core.search.spec import SearchSpec

DEFAULT_TARGETS = (0.8, 0.9, 0.95, 0.99)
DEFAULT_LAMBDAS = (0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
SMALLEST_SIZE = 5


@dataclass(frozen=True, slots=True)
class MethodVariant:
    """A method with the settings that it has in every run."""

    method: str
    settings: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> MethodVariant:
        """Returns the variant that ``name`` or ``name:setting=value:…`` names.

        Raises:
            UserError: the method or a setting is unknown, or a value is wrong.
        """
        name, *rest = text.split(":")
        settings = []
        for part in rest:
            key, equals, value = part.partition("=")
            if not (key and equals and value):
                raise UserError(f"--methods {text}: write NAME:SETTING=VALUE")
            settings.append((key, value))
        method(name).parse_settings(dict(settings))
        return cls(name, tuple(settings))


@dataclass(frozen=True, slots=True)
class GridValues:
    """The values of each kind of grid. Empty `sizes` means doubled sizes up to half the candidates."""

    targets: tuple[float, ...] = DEFAULT_TARGETS
    lambdas: tuple[float, ...] = DEFAULT_LAMBDAS
    sizes: tuple[int, ...] = ()


def parse_variants(text: str) -> list[MethodVariant]:
    """Returns the variants of a comma-separated list.

    Raises:
        UserError: the list is empty, or has a variant twice, or has an unknown one.
    """
    found = [MethodVariant.parse(part) for part in text.split(",") if part]
    if not found:
        raise UserError("--methods: name at least one")
    labels = [method_label(SearchSpec(each.method, 0.5, 0, dict(each.settings)).complete()) for each in found]
    twice = next((name for name in labels if labels.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"--methods {twice}: named twice")
    return found


def method_label(spec: SearchSpec) -> str:
    """Returns the name under which runs are compared: the method, and its settings that are not at their default.

    The setting that the grid moves is left out.
    """
    chosen = method(spec.method)
    own = [
        f"{setting.name}={str(spec.settings[setting.name]).lower()}"
        for setting in chosen.settings
        if setting.name != chosen.grid and spec.settings[setting.name] != setting.default
    ]
    return ":".join([spec.method, *own])


def plan_runs(
    chosen: Sequence[MethodVariant], grids: GridValues, seeds: Sequence[int], candidates: int
) -> list[SearchSpec]:
    """Returns all runs, seed by seed, so that an interruption leaves the first seeds complete.

    A method that the seed does not change runs for the first seed alone.

    Raises:
        UserError: a target, size, seed or penalty is out of range.
    """
    return [
        SearchSpec(each.method, target, seed, {**dict(each.settings), **settings}).complete()
        for seed in seeds
        for each in chosen
        if seed == seeds[0] or method(each.method).seeded
        for target, settings in _grid(each, grids, candidates)
    ]


def doubled_sizes(candidates: int) -> tuple[int, ...]:
    """Returns 5, 10, 20, … up to half the candidates; at least one size."""
    sizes = [min(SMALLEST_SIZE, candidates)]
    while sizes[-1] * 4 <= candidates:
        sizes.append(sizes[-1] * 2)
    return tuple(sizes)


def _grid(variant: MethodVariant, grids: GridValues, candidates: int) -> list[tuple[float, dict[str, SettingValue]]]:
    """Returns the (target, settings) of each run of one seed."""
    chosen, highest = method(variant.method), max(grids.targets)
    if not chosen.grid or chosen.grid in dict(variant.settings):
        return [(highest, {})]
    if chosen.grid == "target":
        return [(target, {}) for target in grids.targets]
    if chosen.grid == "size":
        given = grids.sizes or doubled_sizes(candidates)
        return [(highest, {"size": size}) for size in given if size <= candidates]
    return [(highest, {chosen.grid: value}) for value in grids.lambdas]
