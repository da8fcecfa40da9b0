"""One kernel in place of eight for the tanh GELU, which Hugging Face's ``gelu_new`` writes out in steps.

https://github.com/huggingface/transformers/issues/15397 (open), and
https://github.com/huggingface/transformers/issues/21344 with measurements; seen in transformers 5.23.0.
"""

from __future__ import annotations

from torch import nn


def fuse_gelu(bridge: nn.Module) -> None:
    """Replaces every ``NewGELUActivation`` by torch's GELU with ``approximate="tanh"``.

    0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), Hendrycks and Gimpel 2016, is what both compute.
    """
    from transformers.activations import NewGELUActivation

    for module in list(bridge.modules()):
        for name, child in list(module.named_children()):
            if type(child) is NewGELUActivation:
                setattr(module, name, nn.GELU(approximate="tanh"))
