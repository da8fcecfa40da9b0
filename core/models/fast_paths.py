"""A cheaper way to the same logits: the last MLP runs on the tokens whose logits are read, and on no other.

`LanguageModel.verify` uses it only where the logits agree with those of a plain pass.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


class _Selection(threading.local):
    """The tokens that one thread selects, and the shape of the module's input; all threads share the module."""

    tokens: tuple[Tensor, Tensor] | None = None
    n_rows = n_columns = 0


class TokenFilter:
    """Lets a module that treats every token alike, such as an MLP, run on a few tokens alone.

    Behind the last block only the tokens at which answers are read matter: its MLP can leave out all others, whose
    output is then zero.
    """

    def __init__(self, module: nn.Module) -> None:
        self._selection = _Selection()
        self._hooks = (module.register_forward_pre_hook(self._select), module.register_forward_hook(self._scatter))

    def remove(self) -> None:
        """Leaves the module as it was."""
        for hook in self._hooks:
            hook.remove()

    @contextlib.contextmanager
    def only(self, rows: Tensor, columns: Tensor) -> Iterator[None]:
        """Within it, in this thread, the module runs on the tokens at `rows` `[read]`, `columns` `[read]` alone."""
        self._selection.tokens = rows, columns
        try:
            yield
        finally:
            self._selection.tokens = None

    def _select(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        selection = self._selection
        selection.n_columns = 0
        if selection.tokens is None or not args or args[0].dim() != 3:
            return None
        x: Tensor = args[0]
        selection.n_rows, selection.n_columns = x.shape[:2]
        rows, columns = (index.to(x.device) for index in selection.tokens)
        return (x[rows, columns].unsqueeze(1), *args[1:])

    def _scatter(self, _: nn.Module, __: Any, out: Any) -> Any:
        selection = self._selection
        if selection.tokens is None or not selection.n_columns:
            return None
        selected: Tensor = out[0] if isinstance(out, tuple) else out
        whole = selected.new_zeros(selection.n_rows, selection.n_columns, selected.shape[-1])
        whole = whole.index_put(tuple(index.to(selected.device) for index in selection.tokens), selected[:, 0])
        return (whole, *out[1:]) if isinstance(out, tuple) else whole
