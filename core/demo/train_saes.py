"""Trains the demo's SAEs with sae-lens: BatchTopK on the residual stream, saved as JumpReLU folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig, LoggingConfig, SAETrainer
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.sae import SAEMetadata
from torch import Tensor
from transformers import GPT2LMHeadModel

from circuit_tui.core.demo import MODEL_NAME, SITES
from circuit_tui.core.demo.corpus import PAD_ID, Corpus

D_SAE, K = 512, 20
STEPS, BATCH = 4000, 512
RATE = 2e-3
POOL_DOCUMENTS = 1024


@torch.no_grad()
def activations(model: GPT2LMHeadModel, ids: Tensor) -> Tensor:
    """Returns the residual stream after the block of each site, `[site, token, width]`, without BOS and padding."""
    mask = (ids != PAD_ID).long()
    hidden = model.transformer(ids, attention_mask=mask, output_hidden_states=True, use_cache=False).hidden_states
    included = ids != PAD_ID
    included[:, 0] = False
    # hidden[0] is the embedding, so the output of block i is hidden[i + 1]; the last entry has the final norm.
    return torch.stack([hidden[site + 1][included] for site in range(len(SITES))])


def stream(model: GPT2LMHeadModel, site: int, seed: int) -> Iterator[Tensor]:
    """Yields batches `[BATCH, width]` of one site in random order, from a pool that is redrawn when it is used up."""
    corpus, generator = Corpus(seed), torch.Generator().manual_seed(seed)
    while True:
        pool = activations(model, corpus.batch(POOL_DOCUMENTS))[site]
        order = torch.randperm(len(pool), generator=generator)
        for rows in order[: len(order) // BATCH * BATCH].view(-1, BATCH):
            yield pool[rows]


def train_sae(model: GPT2LMHeadModel, site: int, seed: int, folder: Path, steps: int = STEPS) -> dict[str, Any]:
    """Trains the SAE of one site and saves it to `folder`; returns its final losses."""
    torch.manual_seed(seed)
    metadata = SAEMetadata(
        model_name=MODEL_NAME, hook_name=SITES[site], prepend_bos=True, dataset_path="circuit_tui.core.demo.corpus"
    )
    width = int(model.config.hidden_size)
    sae = BatchTopKTrainingSAE(
        BatchTopKTrainingSAEConfig(
            d_in=width, d_sae=D_SAE, k=K, normalize_activations="expected_average_only_in", metadata=metadata
        )
    )
    settings = SAETrainerConfig(
        total_training_samples=steps * BATCH, train_batch_size_samples=BATCH, lr=RATE, lr_end=0.0,
        lr_warm_up_steps=100, lr_decay_steps=steps // 2, dead_feature_window=300, n_batches_for_norm_estimate=20,
        logger=LoggingConfig(log_to_wandb=False),
    )  # fmt: skip
    SAETrainer(settings, sae, stream(model, site, seed + 1)).fit()
    sae.save_inference_model(folder)
    return {"l0": float(sae.cfg.metadata.l0), "dead": int(sae.cfg.metadata.num_dead_features)}
