"""What an SAE does around its encoder and decoder: normalises each token, or adds a skip connection.

With x the activations that arrive, z what is encoded, d the decoded latents and y what leaves the site:

    layer_norm              z = (x - mean) / (std + 1e-5),   y = d std + mean
    constant_norm_rescale   z = x sqrt(d_in) / |x|,          y = d |x| / sqrt(d_in)
    skip transcoder         z = x,                           y = d + x W_skip^T

mean, std (with n - 1) and |x| are those of the token that arrives, so that gradients flow through them as sae-lens
computes them. All is done for any leading axes, `[..., d_in]` in and `[..., d_out]` out.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor

NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale")
_EPSILON = 1e-5


class SaeTransform(Protocol):
    """One way in and out."""

    def pre_encode(self, x: Tensor) -> Tensor:
        """Z of x."""

    def scale(self, decoded: Tensor, x: Tensor) -> Tensor:
        """The part of y that is linear in the decoded latents."""

    def post_decode(self, decoded: Tensor, x: Tensor) -> Tensor:
        """Y of the decoded latents and x."""


class LayerNorm:
    """``layer_norm``."""

    def pre_encode(self, x: Tensor) -> Tensor:
        """See `SaeTransform`."""
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.std(-1, keepdim=True) + _EPSILON)

    def scale(self, decoded: Tensor, x: Tensor) -> Tensor:
        """See `SaeTransform`."""
        return decoded * x.std(-1, keepdim=True)

    def post_decode(self, decoded: Tensor, x: Tensor) -> Tensor:
        """See `SaeTransform`."""
        return self.scale(decoded, x) + x.mean(-1, keepdim=True)


class ConstantNorm:
    """``constant_norm_rescale``."""

    def pre_encode(self, x: Tensor) -> Tensor:
        """See `SaeTransform`."""
        return x / self._size(x)

    def scale(self, decoded: Tensor, x: Tensor) -> Tensor:
        """See `SaeTransform`."""
        return decoded * self._size(x)

    def post_decode(self, decoded: Tensor, x: Tensor) -> Tensor:
        """See `SaeTransform`."""
        return self.scale(decoded, x)

    @staticmethod
    def _size(x: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return norm / math.sqrt(x.shape[-1])


class Skip:
    """The skip connection of a transcoder; `weight` is `[d_out, d_in]`."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight

    def pre_encode(self, x: Tensor) -> Tensor:
        """See `SaeTransform`."""
        return x

    def scale(self, decoded: Tensor, x: Tensor) -> Tensor:
        """See `SaeTransform`."""
        return decoded

    def post_decode(self, decoded: Tensor, x: Tensor) -> Tensor:
        """See `SaeTransform`."""
        self._weight = self._weight.to(x.device)
        return decoded + torch.matmul(x, self._weight.t())


def take_transform(sae: Any) -> SaeTransform | None:
    """The frame of a sae-lens SAE; what it normalised itself it then no longer does. None if it has no frame."""
    kind = str(sae.cfg.normalize_activations)
    if getattr(sae, "W_skip", None) is not None:
        return Skip(sae.W_skip.detach())
    if kind not in ("layer_norm", "constant_norm_rescale"):
        return None
    sae.run_time_activation_norm_fn_in = sae.run_time_activation_norm_fn_out = lambda x: x
    return LayerNorm() if kind == "layer_norm" else ConstantNorm()
