"""A tiny model with its SAEs, saved in folders and opened by the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from naive import opened, tap

from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.load_model import load_model
from circuit_tui.core.opening.check_fit import check_fit
from circuit_tui.core.saes.load_saes import load_saes
from circuit_tui.core.saes.site import Site
from tiny.models import WIDTH, make_model
from tiny.saes import make_sae

CPU = torch.device("cpu")

NORMALISED = ("layer_norm", "constant_norm_rescale")
# Every kind of SAE; the residual before the first block and after the last; adjacent sites and gaps.
_SITES = {
    "gpt2": (("blocks.0.hook_resid_pre", "standard"), ("blocks.1.hook_resid_post", "jumprelu")),
    "llama": (("blocks.0.hook_resid_post", "topk-rescaled"), ("blocks.2.hook_resid_post", "gated")),
    "gemma2": (("blocks.1.hook_resid_pre", "jumprelu-centred"), ("blocks.1.hook_resid_post", "standard-raw")),
}


@dataclass(frozen=True)
class TinyModel:
    """A model folder, SAE folders in the order of their sites, and both as the engine opened them."""

    folder: Path
    sae_folders: tuple[Path, ...]
    model: LanguageModel
    sites: tuple[Site, ...]


@dataclass(frozen=True)
class TinySae:
    """An SAE to make: the hook that it reads, its kind, the hook of its output if another, further config."""

    hook: str
    kind: str
    out: str | None = None
    config: tuple[tuple[str, Any], ...] = ()
    metadata: tuple[tuple[str, Any], ...] = ()


def build_model_with(shape: str, folder: Path, saes: Sequence[TinySae]) -> TinyModel:
    """The model of `shape` with these SAEs, each scaled to the activations at its hook."""
    path = make_model(shape, folder / "model")
    model = load_model(str(path), CPU, torch.float32)
    _verify(model)
    folders = make_saes(path, folder, saes)
    sites = tuple(load_saes([], folders, CPU))
    check_fit(model, sites)
    return TinyModel(path, folders, model, sites)


def _verify(model: LanguageModel) -> None:
    """Verifies the model, as when a session is opened."""
    model.verify(torch.arange(3, 19).reshape(2, 8), torch.tensor([7, 5]))


def make_saes(model: Path, folder: Path, saes: Sequence[TinySae]) -> tuple[Path, ...]:
    """Saves `saes` into `folder`, each scaled to the activations at its hook of the model in `model`."""
    hf, _ = opened(model, torch.float32)
    folders = []
    for seed, one in enumerate(saes):
        sizes: list[float] = []
        handle = tap(hf, one.hook, lambda x, sizes=sizes: sizes.append(float(x.std())))
        with torch.no_grad():
            hf(torch.arange(3, 19).reshape(2, 8))
        handle.remove()
        # An SAE that normalises sees activations of size 1.
        spread = 1.0 if dict(one.config).get("normalize_activations") in NORMALISED else sizes[0]
        metadata = {**({"hook_name_out": one.out} if one.out else {}), **dict(one.metadata)}
        target = folder / f"sae{seed}"
        folders.append(make_sae(one.kind, target, one.hook, WIDTH, spread, seed, metadata=metadata, **dict(one.config)))
    return tuple(folders)


def build_model(shape: str, folder: Path) -> TinyModel:
    """Makes, saves and opens the model of `shape`."""
    model = load_model(str(make_model(shape, folder / "model")), CPU, torch.float32)
    _verify(model)
    tokens = torch.arange(3, 19).reshape(2, 8)
    sae_folders = []
    for seed, (hook, kind) in enumerate(_SITES.get(shape, ())):
        depth = int(hook.split(".")[1]) + hook.endswith("post")
        spread = float(model.run_blocks(model.embed(tokens), 0, depth).std())
        sae_folders.append(make_sae(kind, folder / f"sae{seed}", hook, WIDTH, spread, seed))
    sites = tuple(load_saes([], sae_folders, CPU)) if sae_folders else ()
    if sites:
        check_fit(model, sites)
    return TinyModel(folder / "model", tuple(sae_folders), model, sites)
