"""Cheaper ways to the same logits. `LanguageModel.verify` uses them only where they give what the plain pass gives."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn


def fuse_gelu(bridge: nn.Module) -> None:
    """Replaces the tanh GELU written out in eight steps (Hugging Face's ``gelu_new``) by torch's one kernel.

    0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), Hendrycks and Gimpel 2016, is what both compute.
    """
    from transformers.activations import NewGELUActivation

    for module in list(bridge.modules()):
        for name, child in list(module.named_children()):
            if type(child) is NewGELUActivation:
                setattr(module, name, nn.GELU(approximate="tanh"))


def skip_unwatched(bridge: nn.Module) -> None:
    """Runs the model's own norm, one kernel, where a norm of the bridge takes many steps to show its hook points each.

    As soon as something looks at one of these points the bridge's own way is gone again.
    """
    from transformer_lens.model_bridge.generalized_components.normalization import NormalizationBridge
    from transformer_lens.model_bridge.generalized_components.rms_normalization import RMSNormalizationBridge

    def forward(norm: NormalizationBridge, x: Tensor, **named: Any) -> Tensor:
        points = norm.hook_in, norm.hook_scale, norm.hook_normalized, norm.hook_out
        if any(point._forward_pre_hooks or point._forward_hooks or point._backward_hooks for point in points):
            watched: Tensor = NormalizationBridge.forward(norm, x, **named)
            return watched
        normed: Tensor = norm.original_component(x)
        return normed.to(x.dtype)

    for module in bridge.modules():
        if type(module) in (NormalizationBridge, RMSNormalizationBridge):
            object.__setattr__(module, "forward", partial(forward, module))  # a bridge hands its attributes on


def drop_patterns(bridge: nn.Module) -> None:
    """Lets attention modules not keep their last pattern: with it stays all that its gradient would need.

    After a pass that ran out of memory that is most of what the pass had taken.
    """

    def drop(module: Any, _: Any, __: Any) -> None:
        module._pattern = None

    for module in bridge.modules():
        if hasattr(module, "_pattern"):
            module.register_forward_hook(drop)


class _Pass(threading.local):
    """What one thread's pass reads, and the shape of what arrived; the module is the same for all threads."""

    reads: tuple[Tensor, Tensor] | None = None
    n_rows = width = 0


class TokenFilter:
    """Lets a module that treats every token alike, such as an MLP, work on a few tokens alone.

    Behind the last block nothing but the answers' places is read: there its MLP need not see the other tokens, which
    get zeros instead.
    """

    def __init__(self, module: nn.Module) -> None:
        self._pass = _Pass()
        self._hooks = (module.register_forward_pre_hook(self._take), module.register_forward_hook(self._put))

    def remove(self) -> None:
        """Leaves the module as it was."""
        for hook in self._hooks:
            hook.remove()

    @contextlib.contextmanager
    def reading(self, rows: Tensor, at: Tensor) -> Iterator[None]:
        """Within it only the tokens `at` `[read]` of the rows `rows` `[read]` are worked on, in this thread."""
        self._pass.reads = rows, at
        try:
            yield
        finally:
            self._pass.reads = None

    def _take(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        now = self._pass
        now.width = 0
        if now.reads is None or not args or args[0].dim() != 3:
            return None
        x: Tensor = args[0]
        now.n_rows, now.width = x.shape[:2]
        rows, at = (index.to(x.device) for index in now.reads)
        return (x[rows, at].unsqueeze(1), *args[1:])

    def _put(self, _: nn.Module, __: Any, out: Any) -> Any:
        now = self._pass
        if now.reads is None or not now.width:
            return None
        first: Tensor = out[0] if isinstance(out, tuple) else out
        every = first.new_zeros(now.n_rows, now.width, first.shape[-1])
        every = every.index_put(tuple(index.to(first.device) for index in now.reads), first[:, 0])
        return (every, *out[1:]) if isinstance(out, tuple) else every
