"""Lets attention modules of TransformerBridge forget their last pattern.

A ``JointQKVAttentionBridge`` stores the attention weights of its last pass in ``_pattern``, and with them everything
that their gradient needs: after a pass that ran out of memory, most of what the pass had taken. Seen in
transformer-lens 3.9.0; no upstream issue is known to us.
"""

from __future__ import annotations

from typing import Any

from torch import nn


def drop_patterns(bridge: nn.Module) -> None:
    """Clears ``_pattern`` of each attention module of `bridge` whenever its forward pass ends."""

    def drop(module: Any, _: Any, __: Any) -> None:
        module._pattern = None

    for module in bridge.modules():
        if hasattr(module, "_pattern"):
            module.register_forward_hook(drop)
