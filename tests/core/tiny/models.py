"""Hugging Face folders of tiny models with random weights and a word-level tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

NOUNS = ("cat", "dog", "cow", "hen", "cats", "dogs", "cows", "hens")
ADJECTIVES = ("big", "old", "red", "shy")
VERBS = ("runs", "run", "sees", "see")
WORDS = (*NOUNS, *ADJECTIVES, *VERBS, "the", "a", "near", "by", "often", "now", "that", "then")
SPECIAL = ("<bos>", "<pad>", "<unk>")
VOCAB = len(WORDS) + len(SPECIAL)
WIDTH, LAYERS = 16, 3

_COMMON = {
    "hidden_size": WIDTH,
    "intermediate_size": 24,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "vocab_size": VOCAB,
    "max_position_embeddings": 32,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
_GROUPED = {**_COMMON, "num_key_value_heads": 1, "head_dim": 8}
# A window shorter than the prompts, caps that take effect, layers that differ: ignoring any of them changes numbers.
_GEMMA = {**_GROUPED, "sliding_window": 3, "query_pre_attn_scalar": 8}
_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": (
        "GPT2Config",
        {
            "n_embd": WIDTH, "n_layer": LAYERS, "n_head": 2, "n_inner": 24, "n_positions": 32, "vocab_size": VOCAB,
            "bos_token_id": 0, "eos_token_id": 1, "resid_pdrop": 0.1,
        },
    ),
    "llama": ("LlamaConfig", {**_GROUPED, "tie_word_embeddings": False, "rms_norm_eps": 1e-6}),
    "gemma2": ("Gemma2Config", {**_GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 4.0}),
    "gemma3": (
        "Gemma3TextConfig",
        {**_GEMMA, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    ),
    # Like the models from 4b on: with a vision tower, and the text model's settings in a part of the configuration.
    "gemma3-sighted": (
        "Gemma3Config",
        {
            "text_config": {**_GEMMA, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
            "vision_config": {
                "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
                "image_size": 8, "patch_size": 4,
            },
            "mm_tokens_per_image": 4, "image_token_index": 2,
        },
    ),
    "neox": ("GPTNeoXConfig", {**_COMMON, "use_parallel_residual": True}),
    "qwen3": ("Qwen3Config", _GROUPED),
}  # fmt: skip


def make_tokenizer(bos: bool = True) -> PreTrainedTokenizerFast:
    """One token for each word of `WORDS`; BOS has id 0, as Pythia's does."""
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *WORDS))}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    special = {"bos_token": "<bos>"} if bos else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", eos_token="<pad>", **special
    )


def make_model(shape: str, folder: Path, seed: int = 0, layers: int = LAYERS) -> Path:
    """Saves a random model of the architecture `shape` with its tokenizer into `folder`."""
    name, settings = _CONFIGS[shape]
    if layers != LAYERS:
        key = "n_layer" if shape == "gpt2" else "num_hidden_layers"
        settings = {**{k: v for k, v in settings.items() if k != "layer_types"}, key: layers}
    config = getattr(transformers, name)(**settings)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        # Large enough for attention to select and logits to differ; norms and biases away from their trivial values.
        noise = torch.randn_like(parameter)
        parameter.data = noise * 0.4 if parameter.dim() > 1 else parameter.data + noise * 0.2
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder
