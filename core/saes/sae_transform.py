"""Transforms around an SAE's encoder and decoder: normalisation of each token, or a skip connection.

With x the SAE's input, z the input to the encoder, d the decoded latents and y the SAE's output:

    layer_norm              z = (x - mean) / (std + 1e-5),   y = d std + mean
    constant_norm_rescale   z = x sqrt(d_in) / |x|,          y = d |x| / sqrt(d_in)
    skip transcoder         z = x,                           y = d + x W_skip^T

mean, std (with n - 1) and |x| are the input token's, and gradients flow through them as in sae-lens. All take any
leading axes, `[..., d_in]` in and `[..., d_out]` out.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor
from typing_extensions import override

from circuit_tui.core.models.compat.sae_normalisation import drop_normalisation

NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale")
_EPSILON = 1e-5


class SaeTransform(Protocol):
    """The two sides of a transform, for the SAE's input `x` `[..., d_in]`."""

    def pre_encode(self, x: Tensor) -> Tensor:
        """Returns z, the input to the encoder, `[..., d_in]`."""

    def scale(self, decoded: Tensor, x: Tensor) -> Tensor:
        """Returns the part of y that is linear in the decoded latents, `[..., d_out]`."""

    def post_decode(self, decoded: Tensor, x: Tensor) -> Tensor:
        """Returns y, the SAE's output, `[..., d_out]`."""


class LayerNorm(SaeTransform):
    """``layer_norm``: the token's mean and standard deviation go out before the encoder, and back in behind."""

    @override
    def pre_encode(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.std(-1, keepdim=True) + _EPSILON)

    @override
    def scale(self, decoded: Tensor, x: Tensor) -> Tensor:
        return decoded * x.std(-1, keepdim=True)

    @override
    def post_decode(self, decoded: Tensor, x: Tensor) -> Tensor:
        return self.scale(decoded, x) + x.mean(-1, keepdim=True)


class ConstantNorm(SaeTransform):
    """``constant_norm_rescale``: the token is scaled to norm sqrt(d_in), and back."""

    @override
    def pre_encode(self, x: Tensor) -> Tensor:
        return x / self._size(x)

    @override
    def scale(self, decoded: Tensor, x: Tensor) -> Tensor:
        return decoded * self._size(x)

    @override
    def post_decode(self, decoded: Tensor, x: Tensor) -> Tensor:
        return self.scale(decoded, x)

    @staticmethod
    def _size(x: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return norm / math.sqrt(x.shape[-1])


class Skip(SaeTransform):
    """The skip connection of a transcoder; `weight` is `[d_out, d_in]`."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight

    @override
    def pre_encode(self, x: Tensor) -> Tensor:
        return x

    @override
    def scale(self, decoded: Tensor, x: Tensor) -> Tensor:
        return decoded

    @override
    def post_decode(self, decoded: Tensor, x: Tensor) -> Tensor:
        self._weight = self._weight.to(x.device)
        return decoded + torch.matmul(x, self._weight.t())


def take_transform(sae: Any) -> SaeTransform | None:
    """Returns the transform of a sae-lens SAE, None if it has none; the SAE itself then no longer normalises."""
    kind = str(sae.cfg.normalize_activations)
    if getattr(sae, "W_skip", None) is not None:
        return Skip(sae.W_skip.detach())
    if kind not in ("layer_norm", "constant_norm_rescale"):
        return None
    drop_normalisation(sae)
    return LayerNorm() if kind == "layer_norm" else ConstantNorm()
