"""Trains an SAE at each layer with sae-lens: BatchTopK, saved as JumpReLU folders.

    python train_saes.py MODEL text.safetensors saes --layers 6,12,18,24

BOS is left out, and so are attention sinks with residuals of over `SINK` times the median length, a token in 2,000: a
few of them would decide what is learnt.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, LoggingConfig, SAETrainer
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.sae import SAEMetadata
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

D_SAE, K = 4096, 40
STEPS, BATCH = 2100, 4096
RATE = 6e-4
SINK = 20.0
POOL_ROWS = 512
"""Rows of text whose tokens are mixed before they are used."""


@torch.no_grad()
def residuals(model: Any, ids: Tensor, layer: int) -> Tensor:
    """Returns the residual stream after block `layer`, `[token, d_model]` float32, without BOS and attention sinks."""
    seen: list[Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    handle = model.model.layers[layer].register_forward_hook(keep)
    try:
        for rows in ids.split(64):
            model.model(rows, use_cache=False)
    finally:
        handle.remove()
    stream = torch.cat([part[:, 1:].flatten(0, 1).float() for part in seen])
    lengths = stream.norm(dim=1)
    return stream[lengths < SINK * lengths.median()]


def batches(model: Any, ids: Tensor, layer: int, size: int, seed: int) -> Iterator[Tensor]:
    """Yields batches `[size, d_model]` of one layer in random order, for good, from pools of `POOL_ROWS` rows."""
    draw = torch.Generator().manual_seed(seed)
    while True:
        pool = residuals(model, ids[torch.randperm(len(ids), generator=draw)[:POOL_ROWS]], layer)
        if len(pool) < size:
            raise ValueError(f"{len(pool)} tokens are too few for a batch of {size}; write more text")
        order = torch.randperm(len(pool), generator=draw)
        for rows in order[: len(order) // size * size].view(-1, size):
            yield pool[rows]


def train_sae(
    model: Any, ids: Tensor, layer: int, folder: Path, *, name: str, d_sae: int = D_SAE, k: int = K, steps: int = STEPS,
    batch: int = BATCH, seed: int = 0,
) -> dict[str, float]:  # fmt: skip
    """Trains the SAE after block `layer` of the model `name`, saves it to `folder`, and returns L0 and dead latents."""
    torch.manual_seed(seed)
    metadata = SAEMetadata(model_name=name, hook_name=f"blocks.{layer}.hook_resid_post", prepend_bos=True)
    sae = BatchTopKTrainingSAE(
        BatchTopKTrainingSAEConfig(
            d_in=int(model.config.hidden_size), d_sae=d_sae, k=k, normalize_activations="expected_average_only_in",
            metadata=metadata,
        )
    )  # fmt: skip
    settings = SAETrainerConfig(
        total_training_samples=steps * batch, train_batch_size_samples=batch, lr=RATE, lr_end=0.0,
        lr_warm_up_steps=min(100, steps // 4), lr_decay_steps=steps // 5, dead_feature_window=60,
        n_batches_for_norm_estimate=min(20, steps), logger=LoggingConfig(log_to_wandb=False),
    )  # fmt: skip
    SAETrainer(settings, sae, batches(model, ids, layer, batch, seed + 1)).fit()
    sae.save_inference_model(folder)
    return {"l0": float(sae.cfg.metadata.l0), "dead": float(sae.cfg.metadata.num_dead_features)}


def main() -> None:
    """Parses the command line and trains the SAE of each layer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", default="6,12,18,24")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--d-sae", type=int, default=D_SAE)
    given = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.bfloat16).eval()
    ids = load_file(given.text)["ids"]
    for layer in map(int, given.layers.split(",")):
        folder = given.out / f"blocks.{layer}.hook_resid_post"
        train_sae(model, ids, layer, folder, name="SmolLM2-135M-Instruct", steps=given.steps, d_sae=given.d_sae)


if __name__ == "__main__":
    main()
