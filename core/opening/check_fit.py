"""Checks that SAEs fit a model: their width, their layer, the model that they were trained on, and their hook."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.model_files import hub_name
from circuit_tui.core.saes.site import Site
from circuit_tui.core.splice.hook_patch import sae_input


def check_fit(model: LanguageModel, sites: Sequence[Site]) -> None:
    """Checks every SAE against the model.

    Raises:
        UserError: an SAE does not fit (the message names both sides), or there are no SAEs.
    """
    if not sites:
        raise UserError("no SAE given: name at least one with --sae RELEASE:ID or --sae-dir DIR")
    for site in sites:
        _check_width(model, site)
        if site.layer >= model.n_layers:
            raise UserError(f"SAE {site.sae.name} sits at {site.hook}, but {model.name} has {model.n_layers} layers")
        if site.inside is not None and site.inside.is_resid_mid:
            _check_resid_mid(model, site)
        if site.sae.model_name and not _same_model(site.sae.model_name, model.name):
            raise UserError(
                f"SAE {site.sae.name} was trained on {site.sae.model_name!r}, but --model is {model.name!r}; "
                f'if they are the same, put "model_name": "{site.sae.model_name}" into the model folder\'s config.json'
            )


def _check_width(model: LanguageModel, site: Site) -> None:
    heads = site.inside is not None and site.inside.write.endswith("attn.hook_z")
    name, width = ("n_heads x d_head", model.d_heads) if heads else ("d_model", model.d_model)
    for own in ("d_in", "d_out"):
        if getattr(site.sae, own) != width:
            raise UserError(
                f"SAE {site.sae.name} has width {own}={getattr(site.sae, own)}, but the model {model.name} has "
                f"{name}={width}: it was trained on another model ({site.sae.model_name or 'unnamed'})"
            )


def _check_resid_mid(model: LanguageModel, site: Site) -> None:
    """Checks that the model's second norm reads the stream that `site`, a resid_mid, would replace.

    Raises:
        UserError: the block has no such stream, because attention and MLP run in parallel or are scaled when added.
    """
    refusal = UserError(
        f"SAE {site.sae.name}: there is no {site.hook} in the blocks of {model.name} to splice it in at"
    )
    if site.hook not in model.bridge.hook_dict:
        raise refusal
    streams: list[Tensor] = []
    handle = model.hook_point(site.hook).register_forward_hook(lambda _, __, out: streams.append(out))
    try:
        with torch.no_grad():
            resid = model.embed(torch.zeros(1, 2, dtype=torch.long))
            x, _ = sae_input(model, [site], model.run_blocks(resid, 0, site.depth))
    finally:
        handle.remove()
    if not torch.allclose(x, streams[-1].to(x.device), rtol=1e-2, atol=1e-3):
        raise refusal


def _same_model(trained_on: str, model: str) -> bool:
    """Returns whether `model`, a name or a folder, is by its name the model that an SAE was trained on."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return bool(_bare_names(trained_on) & _bare_names(model))
    config = json.loads((folder / "config.json").read_text())
    named = str(config.get("model_name", ""))
    parts = [*folder.absolute().parts, *folder.resolve().parts]
    names = {_bare_name(part) for part in [*parts, named] if part}
    return bool(_bare_names(trained_on) & names)


def _bare_names(model: str) -> set[str]:
    """Returns the bare forms of all names of a model."""
    return {_bare_name(name) for name in (model, _official_name(model), hub_name(model))}


def _bare_name(name: str) -> str:
    """Returns a model's name without organisation and cache prefix, in lower case."""
    return re.split(r"/|--", name)[-1].lower()


def _official_name(name: str) -> str:
    """Returns the Hub name that TransformerLens has for a model or any of its aliases, in lower case."""
    from transformer_lens.supported_models import MODEL_ALIASES

    for official, aliases in MODEL_ALIASES.items():
        if name.lower() in (official.lower(), *(alias.lower() for alias in aliases)):
            return str(official).lower()
    return name.lower()
