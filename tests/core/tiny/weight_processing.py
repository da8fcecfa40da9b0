"""TransformerLens' weight processing, applied to a Hugging Face model by its definition.

Folding norms into the weights behind them, centring the unembedding and moving value biases change neither the stream
nor what attention and MLP add to it. Centring the weights that write to the stream subtracts its mean over the width;
it applies where the norms that read the stream subtract the mean themselves, which RMS norms do not.
"""

from __future__ import annotations

from typing import Any

import torch

_WRITING = ("attn.c_proj", "mlp.c_proj", "attention.dense", "mlp.dense_4h_to_h")
_EMBEDDING = ("wte", "wpe", "embed_in")


@torch.no_grad()
def centre_writing_weights(hf: Any) -> None:
    """Subtracts the mean over the width from every weight that writes to the stream of a GPT-2 or GPT-NeoX."""
    unembedding = hf.get_output_embeddings()
    unembedding.weight = torch.nn.Parameter(unembedding.weight.clone(), requires_grad=False)  # it may be tied
    for name, module in hf.named_modules():
        if name.endswith(_EMBEDDING):
            module.weight -= module.weight.mean(-1, keepdim=True)
        elif name.endswith(_WRITING):
            module.bias -= module.bias.mean()
            # GPT-2 stores its matrices transposed.
            out = 1 if type(module).__name__ == "Conv1D" else 0
            module.weight -= module.weight.mean(out, keepdim=True)
