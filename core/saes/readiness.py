"""Whether models with default SAEs can be fetched: the Hub, the token, the disk, and what is on the disk already."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from circuit_tui.core.hub.explain_error import transport_error
from circuit_tui.core.hub.orphans import Orphan, orphans
from circuit_tui.core.hub.sizes import size_text
from circuit_tui.core.models.model_files import model_on_disk
from circuit_tui.core.models.presets import PRESETS, ModelPreset
from circuit_tui.core.saes.choose_saes import choose_saes
from circuit_tui.core.saes.registry import RegisteredSae, saes_of
from circuit_tui.core.saes.sae_files import bytes_on_disk
from circuit_tui.core.saes.sae_filter import ALL_SITES

TIMEOUT = 3.0
"""Seconds that the Hub has to answer."""
MIN_FREE = 5 * 10**9
"""Free bytes below which the smallest gated model no longer fits."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model by its short name: whether its files and its default SAEs are on the disk.

    `package` has the weights where the Hub does not bring them. `sae_bytes_missing` is an estimate of the SAEs still to
    be fetched; None where their size is not known.
    """

    name: str
    hub: str
    gated: bool
    package: str | None
    model_on_disk: bool
    saes: int
    saes_on_disk: int
    sae_bytes_missing: int | None


@dataclass(frozen=True, slots=True)
class HubState:
    """The Hub and its cache, as this machine sees them.

    `reachable` is None when HF_HUB_OFFLINE is set and nobody asked; `free` counts bytes of the cache's disk; `orphans`
    are what downloads that broke off left in the cache.
    """

    endpoint: str
    cache: str
    offline: bool
    reachable: bool | None
    token: bool
    free: int
    orphans: tuple[Orphan, ...]
    models: tuple[ModelState, ...]


def hub_state() -> HubState:
    """Looks at the cache, and asks the Hub for an answer. It imports sae-lens, which takes seconds."""
    from huggingface_hub import constants, get_token

    folder = Path(constants.HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    return HubState(
        endpoint=constants.ENDPOINT,
        cache=str(constants.HF_HUB_CACHE),
        offline=bool(constants.HF_HUB_OFFLINE),
        reachable=None if constants.HF_HUB_OFFLINE else _responds(constants.ENDPOINT),
        token=bool(get_token()),
        free=shutil.disk_usage(folder).free,
        orphans=orphans(),
        models=tuple(_model_state(preset) for preset in PRESETS),
    )


def advice(state: HubState) -> list[str]:
    """Returns what to do, a line each, about wasted room and about obstacles to fetching the models still missing."""
    lines = []
    if state.orphans:
        wasted = size_text(sum(orphan.size for orphan in state.orphans))
        lines.append(
            f"downloads that broke off left {wasted} that nothing will use: while nothing is being downloaded, "
            f"find {state.cache} -name '*.incomplete' -delete"
        )
    hub = [model for model in state.models if model.package is None]
    missing = [model for model in hub if not model.model_on_disk or model.saes_on_disk < model.saes]
    if not missing:
        return lines
    if state.offline:
        lines.append("HF_HUB_OFFLINE is set: only what is on the disk opens; unset it to fetch more")
    elif not state.reachable:
        lines.append(
            f"{state.endpoint} does not answer: check the network, set HF_ENDPOINT to a mirror, or copy the cache of a "
            f"machine that has one to {state.cache}"
        )
    gated = [model.name for model in missing if model.gated]
    if gated and not state.token:
        lines.append(
            f"no token: those marked gated need one ({', '.join(_first_and_last(gated))}); accept their terms at "
            f"{state.endpoint}/NAME and set HF_TOKEN (from {state.endpoint}/settings/tokens)"
        )
    if state.free < MIN_FREE:
        lines.append(f"{size_text(state.free)} free for {state.cache}: make room or set HF_HOME to a larger disk")
    return lines


def _first_and_last(names: list[str]) -> list[str]:
    return names if len(names) < 4 else [names[0], "…", names[-1]]


def _model_state(preset: ModelPreset) -> ModelState:
    by_name: dict[str, RegisteredSae] = {sae.name: sae for sae in saes_of(preset.release)}
    saes = [by_name[name] for name in choose_saes((), ALL_SITES, preset.hub_name)]
    absent = [sae for sae in saes if bytes_on_disk(sae) is None]
    sizes = [sae.estimated_bytes for sae in absent]
    return ModelState(
        name=preset.names[0],
        hub=preset.hub_name,
        gated=preset.gated,
        package=f"{preset.package.name} {preset.package.version}" if preset.package else None,
        model_on_disk=model_on_disk(preset.names[0]),
        saes=len(saes),
        saes_on_disk=len(saes) - len(absent),
        sae_bytes_missing=None if None in sizes else sum(size for size in sizes if size is not None),
    )


def _responds(endpoint: str) -> bool:
    from huggingface_hub import get_session

    try:
        get_session().head(endpoint, timeout=TIMEOUT)
    except (OSError, transport_error()):
        return False
    return True
