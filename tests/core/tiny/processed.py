"""What TransformerLens' weight processing does to the residual stream, done to a Hugging Face model by definition.

Folding norms into the weights behind them, centring the unembedding and moving value biases leave the stream, and what
attention and MLP add to it, as they are. Centring the weights that write to the stream takes from it its mean over the
width; it is done where the norms that read the stream take the mean off themselves, which RMS norms do not.
"""

from __future__ import annotations

from typing import Any

import torch

_WRITING = ("attn.c_proj", "mlp.c_proj", "attention.dense", "mlp.dense_4h_to_h")
_EMBEDDING = ("wte", "wpe", "embed_in")


@torch.no_grad()
def centre_writing_weights(hf: Any) -> None:
    """Takes the mean over the width from all that writes to the stream of a GPT-2 or GPT-NeoX."""
    unembedding = hf.get_output_embeddings()
    unembedding.weight = torch.nn.Parameter(unembedding.weight.clone(), requires_grad=False)  # it may be tied
    for name, module in hf.named_modules():
        if name.endswith(_EMBEDDING):
            module.weight -= module.weight.mean(-1, keepdim=True)
        elif name.endswith(_WRITING):
            module.bias -= module.bias.mean()
            # GPT-2 keeps its matrices the other way round.
            out = 1 if type(module).__name__ == "Conv1D" else 0
            module.weight -= module.weight.mean(out, keepdim=True)
