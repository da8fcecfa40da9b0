"""The grid of a sweep: every task with every choice of sites, method, setting, target and seed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.bundled import BUNDLED_HOOKS
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.opening.tokenized_task import task_of
from circuit_tui.core.runs.order import RunOrder
from circuit_tui.core.runs.plan import MethodVariant
from circuit_tui.core.saes.hook_names import Hook, matching_hooks
from circuit_tui.core.search.registry import method
from circuit_tui.core.search.setting import SettingValue
from circuit_tui.core.search.spec import SearchSpec


@dataclass(frozen=True, slots=True)
class Grid:
    """The values that a sweep combines.

    Attributes:
        base: what all runs share.
        tasks: built-in tasks.
        prompts: prompts files.
        methods: methods as `MethodVariant.parse` reads them.
        targets, seeds: each is combined with each method.
        sites: choices of hooks, or short names such as ``L1``; an empty choice means all sites.
        settings: maps ``NAME`` or ``METHOD.NAME`` to the values that it takes in turn; a bare name goes to every method
            that has such a setting.
    """

    base: OpenRequest
    tasks: Sequence[str] = ()
    prompts: Sequence[Path] = ()
    methods: Sequence[str] = ("mask",)
    targets: Sequence[float] = (0.95,)
    seeds: Sequence[int] = (0,)
    sites: Sequence[tuple[str, ...]] = ((),)
    settings: Mapping[str, Sequence[SettingValue]] = field(default_factory=dict)


def orders_of(grid: Grid) -> list[RunOrder]:
    """Returns the runs of the grid, each once; runs that share a model and SAEs follow one another.

    Raises:
        UserError: a task, prompts file, method, setting, target or seed is wrong, or a site has no SAE.
    """
    requests: list[OpenRequest] = []
    for sites in (_normalised_sites(grid.base, chosen) for chosen in grid.sites):
        base = replace(grid.base, sites=sites)
        requests += [replace(base, task=name) for name in grid.tasks]
        requests += [replace(base, prompts=path) for path in grid.prompts]
    tasks = [(request, task_of(request)[0]) for request in requests]
    named = [(request, task.name, task.sha256) for request, task in tasks]
    specs = _specs(grid)
    orders = [RunOrder(request, spec, name, sha256) for request, name, sha256 in named for spec in specs]
    return list({order.id: order for order in orders}.values())


def _specs(grid: Grid) -> list[SearchSpec]:
    variants = [MethodVariant.parse(text) for text in grid.methods]
    names = [variant.method for variant in variants]
    for name in grid.settings:
        if not any(_setting_of(name, method_name) for method_name in names):
            known = {f"{one}: {', '.join(s.name for s in method(one).settings) or 'none'}" for one in names}
            raise UserError(f"--set {name}: no method of the sweep has that setting ({'; '.join(sorted(known))})")
    specs = []
    for variant in variants:
        given = {_setting_of(key, variant.method): values for key, values in grid.settings.items()}
        given |= {key: (value,) for key, value in variant.settings}
        given.pop("", None)
        for values in itertools.product(*given.values()):
            settings = dict(zip(given, values, strict=True))
            for target, seed in itertools.product(grid.targets, grid.seeds):
                specs.append(SearchSpec(variant.method, target, seed, settings).complete())
    return specs


def _setting_of(key: str, name: str) -> str:
    """Returns the setting that `key` names for the method `name`; empty if the method has no such setting."""
    owner, dot, setting = key.rpartition(".")
    if dot and owner != name:
        return ""
    return setting if setting in {known.name for known in method(name).settings} else ""


def _normalised_sites(base: OpenRequest, chosen: tuple[str, ...]) -> tuple[str, ...]:
    """Returns `chosen` as full hook names, if the SAEs are in folders; hooks of a release are known once it is loaded.

    Returns an empty tuple if `chosen` names all sites, so that both ways of naming them make the same runs.
    """
    if not chosen or base.saes or (base.model is not None and not base.sae_dirs):
        return chosen
    hooks = [_hook_of(folder) for folder in base.sae_dirs] or [Hook(name) for name in BUNDLED_HOOKS]
    found = matching_hooks(chosen, hooks)
    return () if len(found) == len(hooks) else found


def _hook_of(folder: Path) -> Hook:
    try:
        return Hook.of_config(json.loads((folder.expanduser() / "cfg.json").read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"--sae-dir {folder}: its cfg.json cannot be read: {error}") from error
