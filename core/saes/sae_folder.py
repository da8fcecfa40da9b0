"""Opens an SAE from a folder in sae-lens' layout: ``cfg.json`` and ``sae_weights.safetensors``."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from circuit_tui.core.errors import UserError, first_line
from circuit_tui.core.models.weights_hash import weights_sha256
from circuit_tui.core.runtime.out_of_memory import is_out_of_memory
from circuit_tui.core.saes.hook_names import Hook
from circuit_tui.core.saes.sae import SiteSae

BATCH_ARCHITECTURES = ("batchtopk", "matryoshka_batchtopk")
"""Kinds of training checkpoints that choose latents over a whole batch, which they do only while they are trained."""


def load_folder(folder: Path, device: torch.device, release: str = "") -> SiteSae:
    """Opens the SAE in `folder` in float32; `release` is that of an SAE that comes with the program.

    Raises:
        UserError: no such folder, a file is missing or damaged, or ``cfg.json`` names no hook.
    """
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
    if not isinstance(config, dict):
        raise UserError(f"--sae-dir {folder}: cfg.json is no JSON object")
    try:
        with _inference_folder(path, config) as folder_to_load:
            sae = SAE.load_from_disk(folder_to_load, device=str(device), dtype="float32")
        _fold_scaling(sae, config)
    except Exception as error:  # sae-lens raises many types for a damaged folder
        if is_out_of_memory(error):
            raise
        raise UserError(f"--sae-dir {folder}: cannot be loaded: {first_line(error)}") from error
    _check_k(folder, sae, config)
    hook = Hook.of_config(config).name
    if not hook:
        raise UserError(f"--sae-dir {folder}: cfg.json names no metadata.hook_name")
    # Where a release lies on this machine says nothing on another.
    where = f"{release}/{path.name}" if release else str(folder)
    return SiteSae(sae, release, path.name, hook, where, weights_sha256(path))


@contextlib.contextmanager
def _inference_folder(path: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """The folder to load: `path`, or for a training checkpoint a temporary one with the SAE that it becomes.

    BatchTopK and Matryoshka SAEs are used with the threshold that they learnt: they become JumpReLU SAEs.
    """
    if config.get("architecture") not in BATCH_ARCHITECTURES:
        yield path
        return
    from sae_lens.saes.sae import TrainingSAE

    with tempfile.TemporaryDirectory() as temporary:
        TrainingSAE.load_from_disk(path, dtype="float32").save_inference_model(temporary)
        yield Path(temporary)


def _check_k(folder: Path, sae: Any, config: Mapping[str, Any]) -> None:
    """Raises UserError for a TopK SAE without a k of its own, or with one that its latents cannot have.

    Where ``cfg.json`` has none, sae-lens takes 100: other activations than those that it was trained with.
    """
    if not hasattr(sae.cfg, "k"):
        return
    k = config.get("k", (config.get("activation_fn_kwargs") or {}).get("k"))
    if k is None:
        raise UserError(f"--sae-dir {folder}: cfg.json gives no k, the number of latents that this SAE lets through")
    if not 1 <= k <= sae.cfg.d_sae:
        raise UserError(f"--sae-dir {folder}: cfg.json gives k {k}; it must be 1 to {sae.cfg.d_sae}, its latents")


def _fold_scaling(sae: Any, config: Mapping[str, Any]) -> None:
    """Folds the scale of `expected_average_only_in` into the weights where the folder's cfg.json gives it."""
    factor = config.get("norm_scaling_factor") or (config.get("metadata") or {}).get("norm_scaling_factor")
    if factor and sae.cfg.normalize_activations == "expected_average_only_in":
        sae.fold_activation_norm_scaling_factor(float(factor))
