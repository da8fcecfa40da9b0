"""Tiny models under the names of real ones, and SAEs in the files that their releases are made of.

Layers, hooks, folder names, keys, transpositions and scalings are those of the releases; only the sizes are not.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from sae_lens import SAE
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
from server import Hub
from tiny.models import WIDTH, make_model
from tiny.saes import LATENTS, make_sae

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Release:
    """`model` is what a user types, `hub` its name there. `sizes` is what its loader takes from tables, not files."""

    shape: str
    model: str
    hub: str
    release: str
    kind: str
    files: Callable[[str, str, dict[str, Any], Tensors, float], dict[str, bytes]]
    flags: tuple[str, ...] = ()
    sizes: tuple[tuple[str, Any], ...] = ()


def tensors(values: Tensors) -> bytes:
    return safetensors.torch.save({name: value.contiguous() for name, value in values.items()})


def sae_lens_5(path: str, hook: str, config: dict[str, Any], w: Tensors, scale: float) -> dict[str, bytes]:
    """The layout of sae-lens before its version 6, which the oldest releases still have."""
    old = {
        "model_name": config["model"],
        "hook_point": hook,
        "hook_point_layer": int(hook.split(".")[1]),
        "d_in": WIDTH,
        "d_sae": LATENTS,
        "dtype": "torch.float32",
        "device": "cuda",
        "expansion_factor": 2,
        "context_size": 128,
    }
    return {f"{path}/cfg.json": json.dumps(old).encode(), f"{path}/sae_weights.safetensors": tensors(w)}


def gemma_scope(path: str, hook: str, config: dict[str, Any], w: Tensors, scale: float) -> dict[str, bytes]:
    stream = io.BytesIO()
    np.savez(stream, **{name.replace("W_", "w_"): value.numpy() for name, value in w.items()})
    return {f"{path}/params.npz": stream.getvalue()}


def gemma_scope_2(path: str, hook: str, config: dict[str, Any], w: Tensors, scale: float) -> dict[str, bytes]:
    model = config["model"].replace("google/gemma-3", "gemma-v3")
    facts = {"architecture": "jump_relu", "model_name": model, "hf_hook_point_in": "model.layers.0.output"}
    return {
        f"{path}/config.json": json.dumps(facts).encode(),
        f"{path}/params.safetensors": tensors({name.lower(): value for name, value in w.items()}),
    }


def llama_scope(path: str, hook: str, config: dict[str, Any], w: Tensors, scale: float) -> dict[str, bytes]:
    """One threshold for all latents, and activations scaled to a norm of sqrt(d_model): weights for the scaled ones."""
    facts = {
        "d_model": WIDTH,
        "d_sae": LATENTS,
        "jump_relu_threshold": float(w["threshold"][0]) / scale,
        "dataset_average_activation_norm": {"in": WIDTH**0.5 / scale},
        "hook_point_in": hook,
    }
    values = {
        "encoder.weight": w["W_enc"].t() / scale,
        "encoder.bias": w["b_enc"],
        "decoder.weight": w["W_dec"].t() * scale,
        "decoder.bias": w["b_dec"] * scale,
    }
    return {
        f"{path}/hyperparams.json": json.dumps(facts).encode(),
        f"{path}/checkpoints/final.safetensors": tensors(values),
    }


def qwen_scope(path: str, hook: str, config: dict[str, Any], w: Tensors, scale: float) -> dict[str, bytes]:
    stream = io.BytesIO()
    transposed = {"W_enc": w["W_enc"].t(), "W_dec": w["W_dec"].t(), "b_enc": w["b_enc"], "b_dec": w["b_dec"]}
    torch.save({name: value.contiguous() for name, value in transposed.items()}, stream)
    return {path: stream.getvalue()}


TINY = (("d_in", WIDTH), ("d_sae", LATENTS))
RELEASES = {
    one.shape: one
    for one in (
        Release("gpt2", "gpt2", "openai-community/gpt2", "gpt2-small-res-jb", "standard", sae_lens_5),
        Release(
            *("neox", "pythia-70m", "EleutherAI/pythia-70m-deduped", "pythia-70m-deduped-res-sm", "standard"),
            sae_lens_5,
        ),
        Release(
            *("gemma2", "gemma-2-2b", "google/gemma-2-2b", "gemma-scope-2b-pt-res-canonical", "jumprelu", gemma_scope),
            ("--width", "16k"),
            TINY,
        ),
        Release(
            *("gemma3", "gemma-3-1b", "google/gemma-3-1b-pt", "gemma-scope-2-1b-pt-res-all", "jumprelu", gemma_scope_2),
            ("--width", "16k", "--l0", "small"),
        ),
        Release(
            *("gemma3-sighted", "gemma-3-4b", "google/gemma-3-4b-pt", "gemma-scope-2-4b-pt-res-all", "jumprelu"),
            gemma_scope_2,
            ("--width", "16k", "--l0", "small"),
        ),
        Release("llama", "llama-3.1-8b", "meta-llama/Llama-3.1-8B", "llama_scope_lxr_8x", "jumprelu", llama_scope),
        Release(
            *("qwen3", "Qwen/Qwen3-1.7B-Base", "Qwen/Qwen3-1.7B-Base", "qwen-scope-3-1.7b-base-w32k-l50"),
            *("topk-raw", qwen_scope, ()),
            (*TINY, ("activation_fn_kwargs", {"k": 6})),
        ),
    )
}


def serve(hub: Hub, one: Release, names: list[str], folder: Path, layers: int = 3, gated: bool = False) -> list[SAE]:
    """Puts the model and the SAEs `names` on the Hub, and returns those SAEs as they were made."""
    model = make_model(one.shape, folder / "model", layers=layers)
    files = {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}
    hub.add(one.hub, {**files, "README.md": b"a model", "original/consolidated.00.pth": b"another form"}, gated=gated)
    entry = get_pretrained_saes_directory()[one.release]
    content: dict[str, bytes] = {}
    made = []
    for seed, name in enumerate(names):
        path = entry.saes_map[name]
        hook = one_hook(one, name)
        sae = SAE.load_from_disk(make_sae(one.kind, folder / f"sae{seed}", hook, WIDTH, 2.0, seed))
        weights = {key: value.detach().clone() for key, value in sae.state_dict().items()}
        if one.files is llama_scope:
            weights["threshold"][:] = weights["threshold"].mean()
            sae.load_state_dict(weights)
        scale = float(entry.norm_scaling_factor.get(name) or 1.0)
        content |= one.files(path, hook, {"model": entry.model}, weights, scale)
        made.append(sae)
    hub.add(entry.repo_id, content)
    return made


def one_hook(one: Release, name: str) -> str:
    from circuit_tui.core.saes.registry import saes_of

    return next(sae.hook or "" for sae in saes_of(one.release) if sae.id == name)


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tells the loaders that take sizes from tables of their own that these SAEs are tiny."""
    directory = get_pretrained_saes_directory()
    for one in RELEASES.values():
        if one.sizes:
            entry = directory[one.release]
            overrides = {**(entry.config_overrides or {}), **dict(one.sizes)}
            monkeypatch.setitem(directory, one.release, dataclasses.replace(entry, config_overrides=overrides))
