"""The releases of SAEs that a user can pick for a model, and the downloads that a choice needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from circuit_tui.core.models.model_files import model_on_disk
from circuit_tui.core.models.presets import preset_of
from circuit_tui.core.saes.choose_saes import choose_saes, layer_text
from circuit_tui.core.saes.registry import RegisteredSae, releases, saes_of
from circuit_tui.core.saes.sae_files import bytes_on_disk
from circuit_tui.core.saes.sae_filter import SiteFlags


@dataclass(frozen=True, slots=True)
class ReleaseSummary:
    """One release: its model, the kind of site, its layers (``0-25``), its widths and how many SAEs it has."""

    name: str
    model: str
    site: str
    layers: str
    widths: tuple[int, ...]
    saes: int


@dataclass(frozen=True, slots=True)
class SaeChoice:
    """The SAEs that a choice means, how many are on the disk, and the bytes of the others (None: unknown)."""

    names: tuple[str, ...]
    on_disk: int
    to_fetch: int | None
    model_on_disk: bool


def catalogue() -> tuple[ReleaseSummary, ...]:
    """All releases that name their layers. Imports sae-lens, which takes seconds the first time."""
    found = []
    for release in releases():
        saes = saes_of(release)
        layers = sorted({sae.layer for sae in saes if sae.layer is not None})
        if layers:
            widths = sorted({sae.width for sae in saes if sae.width is not None})
            found.append(
                ReleaseSummary(release, saes[0].model, _site(saes), layer_text(layers), tuple(widths), len(saes))
            )
    return tuple(found)


def releases_for(model: str, all_releases: Sequence[ReleaseSummary]) -> tuple[ReleaseSummary, ...]:
    """The releases for a model by any of its names, its default one first, then those on the residual stream."""
    preset = preset_of(model)
    names = {_bare(model)} | ({_bare(preset.hub_name), *preset.names} if preset else set())
    own = [release for release in all_releases if _bare(release.model) in names]
    default = preset.release if preset else ""
    return tuple(sorted(own, key=lambda release: (release.name != default, not release.site.startswith("hook_resid"))))


def describe_choice(model: str, release: str, flags: SiteFlags) -> SaeChoice:
    """The SAEs of one release that `flags` choose, and what has to be fetched for them.

    Raises:
        UserError: flags that no SAE matches.
    """
    names = choose_saes((release,), flags, model)
    by_name = {sae.name: sae for sae in saes_of(release)}
    absent = [by_name[name] for name in names if bytes_on_disk(by_name[name]) is None]
    sizes = [sae.estimated_bytes for sae in absent]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    return SaeChoice(names, len(names) - len(absent), total, model_on_disk(model))


def _site(saes: Sequence[RegisteredSae]) -> str:
    hook = next((sae.hook for sae in saes if sae.hook), None)
    return "site unknown" if hook is None else hook.split(".", 2)[2]


def _bare(model: str) -> str:
    return re.split(r"/|--", model)[-1].lower()
