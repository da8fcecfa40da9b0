"""Reads a hook point of a norm with its gradient.

A norm of TransformerBridge computes the tensors of its hook points without a graph unless the point's own list
``fwd_hooks`` holds a hook; a hook attached with torch's ``register_forward_hook`` does not count. Before
https://github.com/TransformerLensOrg/TransformerLens/issues/1526 they had no graph at all; its fix, in
https://github.com/TransformerLensOrg/TransformerLens/pull/1527, brought the list. Seen in transformer-lens 3.9.0.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


class HookPointReader:
    """Keeps the last tensor that passes the hook point `point` in `values`, until it is removed."""

    def __init__(self, point: Any) -> None:
        self.values: list[Tensor] = []

        def keep(x: Tensor, hook: Any) -> None:
            self.values[:] = [x]

        point.add_hook(keep)
        self._point, self._handle = point, point.fwd_hooks[-1]

    def remove(self) -> None:
        """Leaves the point as it was."""
        self._handle.hook.remove()
        self._point.fwd_hooks.remove(self._handle)
