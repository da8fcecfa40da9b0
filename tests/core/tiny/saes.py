"""sae-lens folders with random weights, saved by sae-lens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sae_lens.saes.abstopk_sae import AbsTopKSAE, AbsTopKSAEConfig
from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
from sae_lens.saes.gated_sae import GatedSAE, GatedSAEConfig
from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
from sae_lens.saes.matryoshka_batchtopk_sae import (
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
)
from sae_lens.saes.sae import SAEMetadata
from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig
from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig
from sae_lens.saes.transcoder import (
    JumpReLUSkipTranscoder,
    JumpReLUSkipTranscoderConfig,
    JumpReLUTranscoder,
    JumpReLUTranscoderConfig,
    SkipTranscoder,
    SkipTranscoderConfig,
    Transcoder,
    TranscoderConfig,
)

LATENTS = 24
_KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "standard": (StandardSAE, StandardSAEConfig, {"apply_b_dec_to_input": True}),
    "standard-raw": (StandardSAE, StandardSAEConfig, {"apply_b_dec_to_input": False}),
    "jumprelu": (JumpReLUSAE, JumpReLUSAEConfig, {"apply_b_dec_to_input": False}),
    "jumprelu-centred": (JumpReLUSAE, JumpReLUSAEConfig, {"apply_b_dec_to_input": True}),
    "gated": (GatedSAE, GatedSAEConfig, {"apply_b_dec_to_input": True}),
    "gated-raw": (GatedSAE, GatedSAEConfig, {"apply_b_dec_to_input": False}),
    "topk": (TopKSAE, TopKSAEConfig, {"k": 6, "apply_b_dec_to_input": True}),
    "topk-raw": (TopKSAE, TopKSAEConfig, {"k": 6, "apply_b_dec_to_input": False}),
    "abstopk": (AbsTopKSAE, AbsTopKSAEConfig, {"k": 6}),
    "topk-rescaled": (TopKSAE, TopKSAEConfig, {"k": 6, "rescale_acts_by_decoder_norm": True}),
}
KINDS = tuple(_KINDS)
"""Kinds of SAEs."""
_TRANSCODERS: dict[str, tuple[Any, Any]] = {
    "transcoder": (Transcoder, TranscoderConfig),
    "skip": (SkipTranscoder, SkipTranscoderConfig),
    "jumprelu-transcoder": (JumpReLUTranscoder, JumpReLUTranscoderConfig),
    "jumprelu-skip": (JumpReLUSkipTranscoder, JumpReLUSkipTranscoderConfig),
}
TRANSCODERS = tuple(_TRANSCODERS)
_CHECKPOINTS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "batchtopk": (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, {"k": 6.0}),
    "matryoshka": (MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig, {"k": 6.0}),
}
CHECKPOINTS = tuple(_CHECKPOINTS)
"""Kinds that exist in training alone; a folder of one is a checkpoint."""


def make_sae(
    kind: str,
    folder: Path,
    hook: str,
    width: int,
    spread: float = 1.0,
    seed: int = 0,
    model_name: str = "",
    latents: int = LATENTS,
    **config: Any,
) -> Path:
    """Saves a random SAE for residuals of standard deviation `spread`; a fair share of its latents fires on them."""
    if kind in _TRANSCODERS:
        config = {"d_out": width, "apply_b_dec_to_input": False, **config}
    sae_class, config_class, settings = {**_KINDS, **_CHECKPOINTS}.get(kind) or (*_TRANSCODERS[kind], {})
    if kind == "matryoshka":
        settings = {**settings, "matryoshka_widths": [latents // 2, latents]}
    metadata = SAEMetadata(hook_name=hook, model_name=model_name, **config.pop("metadata", {}))
    sae = sae_class(config_class(d_in=width, d_sae=latents, metadata=metadata, **{**settings, **config}))
    draw = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    encoder = random(width, latents) / (spread * width**0.5)
    values = {
        "W_enc": encoder,
        "W_dec": encoder.t() * spread**2 * (width / latents) * (1 + 0.3 * random(latents, 1)).abs(),
        "b_dec": random(width) * 0.3 * spread,
        "b_enc": random(latents) * 0.3,
        "threshold": random(latents).abs() * 0.4,
        "b_gate": random(latents) * 0.3,
        "b_mag": random(latents) * 0.3,
        "r_mag": random(latents) * 0.3,
        "W_skip": random(width, width) * 0.3 / width**0.5,
    }
    for name, parameter in sae.named_parameters():
        parameter.data = values[name].contiguous()
    if kind in _CHECKPOINTS:
        sae.topk_threshold.fill_(0.4)
    sae.save_model(folder)
    return folder
