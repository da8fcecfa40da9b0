"""Cheaper ways to the same logits. `LanguageModel.verify` uses them only where they give what the plain pass gives."""

from __future__ import annotations

from typing import Any

import torch
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


def drop_patterns(bridge: nn.Module) -> None:
    """Lets attention modules not keep their last pattern: with it stays all that its gradient would need.

    After a pass that ran out of memory that is most of what the pass had taken.
    """

    def drop(module: Any, _: Any, __: Any) -> None:
        module._pattern = None

    for module in bridge.modules():
        if hasattr(module, "_pattern"):
            module.register_forward_hook(drop)


class AnswerOnly:
    """Lets a module that treats every token alike, such as an MLP, work on one token of each prompt.

    Behind the last block nothing but the answer position is read: there its MLP need not see the other tokens, which
    get zeros instead.

    Attributes:
        answer: `[prompt]` the token index, None for all tokens.
    """

    def __init__(self, module: nn.Module) -> None:
        self.answer: Tensor | None = None
        self._width = 0
        self._hooks = (module.register_forward_pre_hook(self._take), module.register_forward_hook(self._put))

    def remove(self) -> None:
        """Leaves the module as it was."""
        for hook in self._hooks:
            hook.remove()

    def _take(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        self._width = 0
        if self.answer is None or not args or args[0].dim() != 3:
            return None
        x: Tensor = args[0]
        self._width = x.shape[1]
        rows = torch.arange(len(x), device=x.device)
        return (x[rows, self.answer.to(x.device)].unsqueeze(1), *args[1:])

    def _put(self, _: nn.Module, __: Any, out: Any) -> Any:
        if self.answer is None or not self._width:
            return None
        first: Tensor = out[0] if isinstance(out, tuple) else out
        rows = torch.arange(len(first), device=first.device)
        every = first.new_zeros(len(first), self._width, first.shape[-1])
        every = every.index_put((rows, self.answer.to(first.device)), first[:, 0])
        return (every, *out[1:]) if isinstance(out, tuple) else every
