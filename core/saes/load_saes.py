"""Opens SAEs by sae-lens ``RELEASE:ID`` or folder and checks that they fit the model."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from circuit_tui.core.errors import UserError
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.load_model import first_line, hub_name, weights_sha256
from circuit_tui.core.runtime.out_of_memory import is_out_of_memory
from circuit_tui.core.saes.hook_names import Hook
from circuit_tui.core.saes.released_saes import NO_REPORT, SaeSource, load_released
from circuit_tui.core.saes.sae import SiteSae
from circuit_tui.core.saes.site import Site, site_of
from circuit_tui.core.splice.hook_patch import check_resid_mid


def load_saes(
    names: Sequence[str], folders: Sequence[Path], device: torch.device, source: SaeSource = NO_REPORT
) -> list[Site]:
    """Opens every SAE in float32 and orders the sites by depth; `names` are ``RELEASE:ID``, fetched as `source` says.

    Raises:
        UserError: not found, unreadable, at a hook or of a kind that cannot be spliced, or two at one site.
    """
    sites = [site_of(sae) for sae in load_released(names, device, source)]
    sites += [site_of(_from_folder(folder, device)) for folder in folders]
    sites.sort(key=lambda site: site.order)
    for before, after in itertools.pairwise(sites):
        if before.order == after.order:
            if before.hook != after.hook:
                raise UserError(
                    f"two SAEs at one site: what {before.sae.name} at {before.hook} puts out, {after.sae.name} at "
                    f"{after.hook} would replace"
                )
            raise UserError(f"two SAEs at one site: {before.sae.name} and {after.sae.name} both sit at {after.hook}")
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


def check_fit(model: LanguageModel, sites: Sequence[Site]) -> None:
    """Checks width, depth and model name of each SAE against the model.

    Raises:
        UserError: a mismatch; the line names both sides.
    """
    if not sites:
        raise UserError("no SAE given: name at least one with --sae RELEASE:ID or --sae-dir DIR")
    for site in sites:
        heads = site.inside is not None and site.inside.write.endswith("attn.hook_z")
        name, width = ("n_heads x d_head", model.d_heads) if heads else ("d_model", model.d_model)
        for own in ("d_in", "d_out"):
            if getattr(site.sae, own) != width:
                raise UserError(
                    f"SAE {site.sae.name} has width {own}={getattr(site.sae, own)}, but the model {model.name} has "
                    f"{name}={width}: it was trained on another model ({site.sae.model_name or 'unnamed'})"
                )
        if site.layer >= model.n_layers:
            raise UserError(f"SAE {site.sae.name} sits at {site.hook}, but {model.name} has {model.n_layers} layers")
        check_resid_mid(model, site)
        if site.sae.model_name and not _same_model(site.sae.model_name, model.name):
            raise UserError(
                f"SAE {site.sae.name} was trained on {site.sae.model_name!r}, but --model is {model.name!r}; "
                f'if they are the same, put "model_name": "{site.sae.model_name}" into the model folder\'s config.json'
            )


def _same_model(trained_on: str, model: str) -> bool:
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return bool(_names(trained_on) & _names(model))
    config = json.loads((folder / "config.json").read_text())
    named = str(config.get("model_name", ""))
    parts = [*folder.absolute().parts, *folder.resolve().parts]
    names = {_plain(part) for part in [*parts, named] if part}
    return bool(_names(trained_on) & names)


def _names(model: str) -> set[str]:
    """The bare names that a model goes by."""
    return {_plain(name) for name in (model, _official(model), hub_name(model))}


def _plain(name: str) -> str:
    """A model's bare name: no organisation, no cache prefix, lower case."""
    return re.split(r"/|--", name)[-1].lower()


def _official(name: str) -> str:
    from transformer_lens.supported_models import MODEL_ALIASES

    for official, aliases in MODEL_ALIASES.items():
        if name.lower() in (official.lower(), *(alias.lower() for alias in aliases)):
            return str(official).lower()
    return name.lower()


def _from_folder(folder: Path, device: torch.device) -> SiteSae:
    from sae_lens import SAE

    path = folder.expanduser()
    if not path.is_dir():
        raise UserError(f"--sae-dir {folder}: no such folder")
    for needed in ("cfg.json", "sae_weights.safetensors"):
        if not (path / needed).is_file():
            raise UserError(f"--sae-dir {folder}: the folder has no {needed}")
    try:
        config = json.loads((path / "cfg.json").read_text())
    except ValueError as error:
        raise UserError(f"--sae-dir {folder}: cfg.json is not JSON: {error}") from error
    try:
        with _inference_folder(path, config) as folder_to_load:
            sae = SAE.load_from_disk(folder_to_load, device=str(device), dtype="float32")
        _fold_scaling(sae, config)
    except Exception as error:  # sae-lens raises many types for a damaged folder
        if is_out_of_memory(error):
            raise
        raise UserError(f"--sae-dir {folder}: cannot be loaded: {first_line(error)}") from error
    hook = Hook.of_config(config).name
    if not hook:
        raise UserError(f"--sae-dir {folder}: cfg.json names no metadata.hook_name")
    return SiteSae(sae, release="", sae_id=path.name, hook=hook, path=str(folder), weights_sha256=weights_sha256(path))


@contextlib.contextmanager
def _inference_folder(path: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """The folder to load: `path`, or for a training checkpoint a passing one with what it makes for use.

    BatchTopK and Matryoshka SAEs choose among a whole batch only while they are trained; for use they have the
    threshold that they learnt, and are JumpReLU SAEs.
    """
    if config.get("architecture") not in ("batchtopk", "matryoshka_batchtopk"):
        yield path
        return
    from sae_lens.saes.sae import TrainingSAE

    with tempfile.TemporaryDirectory() as made:
        TrainingSAE.load_from_disk(path, dtype="float32").save_inference_model(made)
        yield Path(made)


def _fold_scaling(sae: Any, config: Mapping[str, Any]) -> None:
    """Folds the scale of `expected_average_only_in` into the weights where the folder's cfg.json gives it."""
    factor = config.get("norm_scaling_factor") or (config.get("metadata") or {}).get("norm_scaling_factor")
    if factor and sae.cfg.normalize_activations == "expected_average_only_in":
        sae.fold_activation_norm_scaling_factor(float(factor))
