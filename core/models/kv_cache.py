"""Keys and values of a pass, kept so that some of its tokens can be run again without the others.

Where the residual of a token is as it was, so are its keys and values; the tokens that are run again attend to them.
Both classes stand in for the cache that Hugging Face's attention extends when it generates text.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


class KvCache:
    """Records keys and values `[prompt, head, position, d_head]` of each block in a pass over all tokens."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Takes those of all tokens in block `layer`, and returns them."""
        self.layers[layer] = keys, values
        return keys, values

    def subset(self, tokens: Tensor, into: KvCache | None = None) -> KvCacheSubset:
        """For a pass over the token columns `tokens` `[token]` alone; what then holds is recorded in `into`."""
        return KvCacheSubset(self, tokens, into)


class KvCacheSubset:
    """Puts the keys and values of some token columns in the place of those recorded, for as long as its context lasts.

    Attributes:
        columns: `[token]` the columns, ascending.
    """

    def __init__(self, recorded: KvCache, tokens: Tensor, into: KvCache | None) -> None:
        self._recorded, self.columns, self._into = recorded, tokens, into
        self._replaced: list[tuple[Tensor, Tensor]] = []

    def __enter__(self) -> KvCacheSubset:
        """Within it blocks may be run."""
        return self

    def __exit__(self, *_: object) -> None:
        """Puts back what was recorded."""
        while self._replaced:
            whole, old = self._replaced.pop()
            whole.index_copy_(2, self.columns.to(whole.device), old)

    @property
    def n_columns(self) -> int:
        """How many columns were recorded."""
        return next(iter(self._recorded.layers.values()))[0].shape[2]

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Those of all columns in block `layer`: `keys` and `values` at `columns`, elsewhere as recorded."""
        old_keys, old_values = self._recorded.layers[layer]
        if self._into is None:
            return self._replace(old_keys, keys), self._replace(old_values, values)
        at = self.columns.to(keys.device)
        whole = old_keys.index_copy(2, at, keys), old_values.index_copy(2, at, values)
        self._into.layers[layer] = whole
        return whole

    def _replace(self, whole: Tensor, new: Tensor) -> Tensor:
        """In place, since copying all of them can take as long as running few tokens."""
        at = self.columns.to(whole.device)
        self._replaced.append((whole, whole.index_select(2, at)))
        return whole.index_copy_(2, at, new)


def select_columns(value: Any, tokens: Tensor, length: int) -> Any:
    """An argument that a block got in a pass over `length` columns, as it would be for the columns `tokens` alone.

    A mask `[prompt, head, query, key]` keeps their rows, what has a position axis `[prompt, position, …]` or
    `[position]` their positions; anything else stays.
    """
    if isinstance(value, tuple):
        return tuple(select_columns(part, tokens, length) for part in value)
    if not isinstance(value, Tensor) or value.dim() == 0:
        return value
    axis = {1: 0, 4: 2}.get(value.dim(), 1)
    return value.index_select(axis, tokens.to(value.device)) if value.shape[axis] == length else value
