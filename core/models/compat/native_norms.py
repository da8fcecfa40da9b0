"""Runs a norm as one kernel, where a norm of TransformerBridge takes many steps for hook points that nobody uses.

``NormalizationBridge`` computes scale and normalised stream for its hook points in every pass, hooked or not. Seen in
transformer-lens 3.9.0; no upstream issue is known to us.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn


def use_native_norms(bridge: nn.Module) -> None:
    """Makes each norm of `bridge` call the model's own norm for as long as none of its hook points has a hook."""
    from transformer_lens.model_bridge.generalized_components.normalization import NormalizationBridge
    from transformer_lens.model_bridge.generalized_components.rms_normalization import RMSNormalizationBridge

    def forward(norm: NormalizationBridge, x: Tensor, **named: Any) -> Tensor:
        points = norm.hook_in, norm.hook_scale, norm.hook_normalized, norm.hook_out
        if any(point._forward_pre_hooks or point._forward_hooks or point._backward_hooks for point in points):
            hooked: Tensor = NormalizationBridge.forward(norm, x, **named)
            return hooked
        normed: Tensor = norm.original_component(x)
        return normed.to(x.dtype)

    for module in bridge.modules():
        if type(module) in (NormalizationBridge, RMSNormalizationBridge):
            # Not setattr: a bridge sets its attributes on the module that it wraps.
            object.__setattr__(module, "forward", partial(forward, module))
