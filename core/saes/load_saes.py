"""Opens SAEs by sae-lens ``RELEASE:ID`` or folder and orders their sites."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from circuit_tui.core.errors import UserError
from circuit_tui.core.saes.released_saes import NO_REPORT, SaeSource, load_released
from circuit_tui.core.saes.sae_folder import load_folder
from circuit_tui.core.saes.site import Site, site_of


def load_saes(
    names: Sequence[str], folders: Sequence[Path], device: torch.device, source: SaeSource = NO_REPORT
) -> list[Site]:
    """Opens every SAE in float32 and orders the sites by depth; `names` are ``RELEASE:ID``, fetched as `source` says.

    Raises:
        UserError: not found, unreadable, at a hook or of a kind that cannot be spliced, or two at one site.
    """
    sites = [site_of(sae) for sae in load_released(names, device, source)]
    sites += [site_of(load_folder(folder, device)) for folder in folders]
    sites.sort(key=lambda site: site.order)
    for first, second in itertools.pairwise(sites):
        if first.order == second.order:
            if first.hook != second.hook:
                raise UserError(
                    f"two SAEs at one site: what {first.sae.name} at {first.hook} puts out, {second.sae.name} at "
                    f"{second.hook} would replace"
                )
            raise UserError(f"two SAEs at one site: {first.sae.name} and {second.sae.name} both sit at {second.hook}")
    return sites


def processing_of(sites: Sequence[Site]) -> dict[str, Any]:
    """The weight processing that the SAEs were trained with (`model_from_pretrained_kwargs`).

    Raises:
        UserError: two SAEs ask for different processing.
    """
    wanted = [site.sae.processing for site in sites]
    for site in sites[1:]:
        if site.sae.processing != wanted[0]:
            raise UserError(
                f"the SAEs disagree on the model's weight processing: {sites[0].sae.name} wants {wanted[0] or 'none'}, "
                f"{site.sae.name} wants {site.sae.processing or 'none'}"
            )
    return wanted[0] if wanted else {}
