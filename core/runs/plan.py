"""Which runs a comparison takes: methods, each over its own grid, for every seed.

A method is written as its name, with settings of its own behind colons: ``ig``, ``ig:errors=true``. What moves it along
the frontier is its `MethodInfo.grid`: targets, penalties or sizes. A method without a grid has circuits of all sizes in
one run.
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
class Variant:
    """A method with the settings that it keeps in every run."""

    method: str
    settings: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Variant:
        """The variant that ``name`` or ``name:setting=value:…`` names.

        Raises:
            UserError: unknown method or setting, or a wrong value.
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
class Grids:
    """The values over which methods are run. `sizes` empty means doubled sizes up to half the candidates."""

    targets: tuple[float, ...] = DEFAULT_TARGETS
    lambdas: tuple[float, ...] = DEFAULT_LAMBDAS
    sizes: tuple[int, ...] = ()


def variants(text: str) -> list[Variant]:
    """The variants of a comma-separated list.

    Raises:
        UserError: none, one twice, or one that is not known.
    """
    found = [Variant.parse(part) for part in text.split(",") if part]
    if not found:
        raise UserError("--methods: name at least one")
    labels = [label(SearchSpec(each.method, 0.5, 0, dict(each.settings)).complete()) for each in found]
    twice = next((name for name in labels if labels.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"--methods {twice}: named twice")
    return found


def label(spec: SearchSpec) -> str:
    """What runs of one method with equal settings share: its name and what is not at its default, the grid left out."""
    chosen = method(spec.method)
    own = [
        f"{setting.name}={str(spec.settings[setting.name]).lower()}"
        for setting in chosen.settings
        if setting.name != chosen.grid and spec.settings[setting.name] != setting.default
    ]
    return ":".join([spec.method, *own])


def plan(chosen: Sequence[Variant], grids: Grids, seeds: Sequence[int], candidates: int) -> list[SearchSpec]:
    """All runs, seed by seed, so that what an interruption leaves is whole for the first seeds.

    A method that the seed does not change runs for the first seed alone.

    Raises:
        UserError: a target, size, seed or penalty out of range.
    """
    return [
        SearchSpec(each.method, target, seed, {**dict(each.settings), **moved}).complete()
        for seed in seeds
        for each in chosen
        if seed == seeds[0] or method(each.method).seeded
        for target, moved in _grid(each, grids, candidates)
    ]


def doubled_sizes(candidates: int) -> tuple[int, ...]:
    """5, 10, 20, … up to half the candidates, at least one."""
    sizes = [min(SMALLEST_SIZE, candidates)]
    while sizes[-1] * 4 <= candidates:
        sizes.append(sizes[-1] * 2)
    return tuple(sizes)


def _grid(variant: Variant, grids: Grids, candidates: int) -> list[tuple[float, dict[str, SettingValue]]]:
    """(target, settings) of each run of one seed."""
    chosen, highest = method(variant.method), max(grids.targets)
    if not chosen.grid or chosen.grid in dict(variant.settings):
        return [(highest, {})]
    if chosen.grid == "target":
        return [(target, {}) for target in grids.targets]
    if chosen.grid == "size":
        given = grids.sizes or doubled_sizes(candidates)
        return [(highest, {"size": size}) for size in given if size <= candidates]
    return [(highest, {chosen.grid: value}) for value in grids.lambdas]
