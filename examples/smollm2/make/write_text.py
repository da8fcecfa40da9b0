"""Lets the model write the text that its SAEs are trained on.

    python write_text.py MODEL text.safetensors --rows 8192 --length 128

MODEL is the folder that `make smollm2` has made. Each row is BOS, an opening, and what the model samples behind it,
from its 64 likeliest tokens, at temperature 1. Openings are a random word of the vocabulary or one of `OPENINGS`; no
task has any of them.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

OPENINGS = (
    "Once upon a time", "The man said that", "She walked into the", "In 19", "The company", "When the", "He was a",
    "They were", "My friend", "A young woman", "The reason that", "After the war", "Scientists have", "I don't",
    "The city of", "You can", "There was a", "Dear", "Question:", "def ", "If you", "Because the", "Tom's", "Although",
    "The children", "Last night", "On Monday",
)  # fmt: skip
LIKELIEST = 64
"""From how many tokens each is sampled."""
SHARE = 0.4
"""The share of rows that begin with one of `OPENINGS`."""


def openings(tokenizer: Any, rows: int, seed: int) -> list[list[int]]:
    """Returns the tokens with which each row begins, behind BOS."""
    draw = random.Random(seed)
    words = [token for token in range(len(tokenizer)) if tokenizer.decode([token]).strip().istitle()]
    common = [tokenizer(text, add_special_tokens=False).input_ids for text in OPENINGS]
    return [draw.choice(common) if draw.random() < SHARE or not words else [draw.choice(words)] for _ in range(rows)]


@torch.no_grad()
def write_rows(model: Any, starts: Sequence[Sequence[int]], length: int, bos: int, seed: int) -> Tensor:
    """Returns rows of tokens `[row, length]`: BOS, the tokens of `starts`, then what `model` samples."""
    draw = torch.Generator().manual_seed(seed)
    ids, cache = torch.full((len(starts), length), bos), DynamicCache()
    for at in range(length - 1):
        logits = model(ids[:, at : at + 1], past_key_values=cache, use_cache=True).logits[:, -1].float()
        values, tokens = logits.topk(min(LIKELIEST, logits.shape[-1]))
        sampled = tokens.gather(1, torch.multinomial(values.softmax(-1), 1, generator=draw))[:, 0]
        given = [start[at] if at < len(start) else -1 for start in starts]
        ids[:, at + 1] = torch.where(torch.tensor(given) >= 0, torch.tensor(given), sampled)
    return ids


def main() -> None:
    """Parses the command line and writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.bfloat16).eval()
    starts = openings(tokenizer, given.rows, given.seed)
    parts = [
        write_rows(model, starts[first : first + given.batch], given.length, tokenizer.bos_token_id, given.seed + first)
        for first in range(0, given.rows, given.batch)
    ]
    save_file({"ids": torch.cat(parts)}, given.out)


if __name__ == "__main__":
    main()
