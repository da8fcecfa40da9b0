"""Trains the demo's transformer: GPT-2's shape, on documents of the generated language."""

from __future__ import annotations

import logging
import time

import torch
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from circuit_tui.core.demo.corpus import BOS_ID, DOCUMENT_LENGTH, PAD_ID, Corpus, vocabulary

N_LAYERS, WIDTH, N_HEADS = 4, 96, 6
STEPS, BATCH = 4000, 64
PEAK_RATE, WARM_UP, WEIGHT_DECAY = 3e-3, 200, 0.05
LOG_EVERY = 250

_log = logging.getLogger(__name__)


def untrained(seed: int) -> GPT2LMHeadModel:
    """Returns the model before training."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(vocabulary()), n_positions=DOCUMENT_LENGTH, n_embd=WIDTH, n_layer=N_LAYERS, n_head=N_HEADS,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=BOS_ID, eos_token_id=BOS_ID, pad_token_id=PAD_ID,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def train_model(seed: int, steps: int = STEPS) -> GPT2LMHeadModel:
    """Trains a model by next-token cross-entropy at every position.

    The optimiser is AdamW; its rate warms up and then falls linearly to 0.
    """
    model, corpus = untrained(seed), Corpus(seed)
    matrices = [weight for weight in model.parameters() if weight.ndim == 2]
    others = [weight for weight in model.parameters() if weight.ndim != 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}],
        lr=PEAK_RATE,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARM_UP, (steps - step) / max(1, steps - WARM_UP))
    )
    started = time.monotonic()
    for step in range(steps):
        ids = corpus.batch(BATCH)
        logits = model(input_ids=ids, attention_mask=(ids != PAD_ID).long(), use_cache=False).logits
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD_ID)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % LOG_EVERY == 0:
            seconds = time.monotonic() - started
            _log.info("model step %d/%d loss %.4f, %.0f s", step + 1, steps, loss.item(), seconds)
    return model.eval()
