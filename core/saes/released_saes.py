"""Opens released SAEs by ``RELEASE:ID`` through sae-lens, which knows the layout of each release."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from circuit_tui.core.errors import UserError, first_line
from circuit_tui.core.hub.download import HubClient
from circuit_tui.core.models.compat.sae_lens_downloads import loaders_fetch_through
from circuit_tui.core.saes.choose_saes import suggest_release
from circuit_tui.core.saes.registry import SHIPPED, RegisteredSae, releases, saes_of
from circuit_tui.core.saes.sae import SiteSae
from circuit_tui.core.saes.sae_files import fetch_saes
from circuit_tui.core.saes.sae_folder import load_folder
from circuit_tui.core.views import LoadProgress


@dataclass(frozen=True, slots=True)
class SaeSource:
    """How SAEs are fetched.

    `report` is told the progress, as that of `stage`; `revisions` has the commits of SAEs that are pinned, by name.
    """

    report: Callable[[LoadProgress], None]
    stage: LoadProgress
    revisions: Mapping[str, str] = field(default_factory=dict)


NO_REPORT = SaeSource(lambda _: None, LoadProgress("loading SAEs", 0, 1))


def load_released(names: Sequence[str], device: torch.device, source: SaeSource) -> list[SiteSae]:
    """Opens the SAEs `names` in float32; all are fetched before the first is opened.

    Raises:
        UserError: unknown, cannot be fetched, or of a kind that sae-lens or the splice does not support.
    """
    saes = [registered_sae(name) for name in names]
    if not saes:
        return []
    hub = HubClient(f"--sae {names[0]}" if len(names) == 1 else "--sae", source.report, source.stage)
    revisions = [source.revisions.get(name) or "main" for name in names]
    commits = fetch_saes(hub, saes, revisions)
    return [
        _open(sae, hub, revision, commit, device)
        for sae, revision, commit in zip(saes, revisions, commits, strict=True)
    ]


def registered_sae(name: str) -> RegisteredSae:
    """The SAE that ``RELEASE:ID`` names: in the registry, or a folder in sae-lens' layout in a repository ``ORG/REPO``.

    Raises:
        UserError: no such release or id; the line suggests the nearest.
    """
    release, colon, sae_id = name.partition(":")
    if not colon or not sae_id:
        raise UserError(f"--sae {name}: write RELEASE:ID; `circuit-tui saes` lists them")
    if release in releases():
        by_id = {sae.id: sae for sae in saes_of(release)}
        if sae_id not in by_id:
            close = difflib.get_close_matches(sae_id, list(by_id), n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else f"`circuit-tui saes {release}` lists them"
            raise UserError(f"--sae {name}: no such id; {hint}")
        return by_id[sae_id]
    if release.count("/") == 1:
        return RegisteredSae(release, sae_id, "", None, None, None, None, None, release, sae_id, "sae_lens")
    raise UserError(f"--sae {name}: unknown release {release!r}{suggest_release(release)}")


def _open(entry: RegisteredSae, hub: HubClient, revision: str, commit: str, device: torch.device) -> SiteSae:
    if entry.loader == SHIPPED:
        return load_folder(Path(entry.path), device, entry.release)
    from sae_lens import SAE

    try:
        with loaders_fetch_through(hub, revision):
            sae = SAE.from_pretrained(entry.release, entry.id, device=str(device))
    except UserError:
        raise
    except Exception as error:  # sae-lens raises many types for a release that is not as it expects
        raise UserError(f"--sae {entry.name}: cannot be loaded: {first_line(error)}") from error
    sae = sae.to(dtype=torch.float32)
    return SiteSae(
        sae,
        release=entry.release,
        sae_id=entry.id,
        hook=str(sae.cfg.metadata.get("hook_name") or ""),
        path=f"{entry.repo}/{entry.path}",
        weights_sha256=_tensors_sha256(sae),
        revision=commit,
    )


def _tensors_sha256(sae: Any) -> str:
    """SHA-256 over the loaded weights, whatever files a release keeps them in."""
    digest = hashlib.sha256()
    for name, tensor in sorted(sae.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
