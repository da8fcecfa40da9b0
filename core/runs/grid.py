"""A sweep as a grid: every task with every choice of sites, method, setting, target and seed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.bundled import BUNDLED_HOOKS
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.runs.order import RunOrder
from circuit_tui.core.runs.plan import Variant
from circuit_tui.core.saes.hook_names import Hook, matching_hooks
from circuit_tui.core.search.registry import method
from circuit_tui.core.search.setting import SettingValue
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.tasks import builtin as tasks
from circuit_tui.core.tasks.prompts_file import load_prompts
from circuit_tui.core.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Grid:
    """What to combine.

    `base` says what all runs share. `tasks` are built-in tasks, `prompts` prompts files. `methods` are written as
    `plan.Variant` reads them. `sites` are choices of hooks (or short names such as ``L1``), an empty one being all.
    `settings` maps ``NAME`` or ``METHOD.NAME`` to the values that it takes in turn; a bare name goes to every method
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
    """The runs of the grid, each once, those that share what has to be loaded side by side.

    Raises:
        UserError: a task, prompts file, method, setting, target or seed that is not one; a site without an SAE.
    """
    requests: list[tuple[OpenRequest, Task]] = []
    for chosen in (_checked(grid.base, sites) for sites in grid.sites):
        base = replace(grid.base, sites=chosen)
        requests += [(replace(base, task=name), tasks.builtin(name)) for name in grid.tasks]
        requests += [(replace(base, prompts=path), load_prompts(path)) for path in grid.prompts]
    hashed = [(request, task.name, task.sha256) for request, task in requests]
    specs = _specs(grid)
    orders = [RunOrder(request, spec, name, sha256) for request, name, sha256 in hashed for spec in specs]
    return list({order.id: order for order in orders}.values())


def _specs(grid: Grid) -> list[SearchSpec]:
    chosen = [Variant.parse(text) for text in grid.methods]
    names = [variant.method for variant in chosen]
    for name in grid.settings:
        if not any(_meant_for(name, one) for one in names):
            known = {f"{one}: {', '.join(s.name for s in method(one).settings) or 'none'}" for one in names}
            raise UserError(f"--set {name}: no method of the sweep has that setting ({'; '.join(sorted(known))})")
    specs = []
    for variant in chosen:
        given = {_meant_for(key, variant.method): values for key, values in grid.settings.items()}
        given |= {key: (value,) for key, value in variant.settings}
        given.pop("", None)
        for values in itertools.product(*given.values()):
            settings = dict(zip(given, values, strict=True))
            moved = itertools.product(grid.targets, grid.seeds)
            specs += [SearchSpec(variant.method, target, seed, settings).complete() for target, seed in moved]
    return specs


def _meant_for(key: str, name: str) -> str:
    """The setting that `key` is for the method `name`; empty if it is not for it."""
    owner, dot, setting = key.rpartition(".")
    if dot and owner != name:
        return ""
    return setting if setting in {known.name for known in method(name).settings} else ""


def _checked(base: OpenRequest, chosen: tuple[str, ...]) -> tuple[str, ...]:
    """`chosen` as hooks, as far as the folders say which there are: those of a release are known once it is loaded.

    Naming all of them is the same as naming none: it makes the same runs.
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
