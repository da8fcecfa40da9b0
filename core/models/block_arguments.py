"""What a block of a model gets beside the residual: recorded in a plain pass, given again in a replay."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.models.kv_cache import KvCache, KvCacheSubset, select_columns

# What Hugging Face's blocks call the cache of keys and values.
CACHES = ("past_key_values", "layer_past")

OptionalKvCache = KvCache | KvCacheSubset | None


@dataclass(frozen=True, slots=True)
class BlockCall:
    """The arguments of one block; `named` is all of them by the names of the block's parameters."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    named: dict[str, Any]

    @property
    def cache(self) -> str | None:
        """The parameter for keys and values, None if the block has none."""
        return next((name for name in CACHES if name in self.named), None)

    def run(self, block: torch.nn.Module, resid: Tensor, kv_cache: OptionalKvCache) -> Any:
        """Calls `block` with them and the residual `resid`; `kv_cache` as in `LanguageModel.blocks`."""
        if kv_cache is None:
            return block(resid, *self.args, **self.kwargs)
        assert self.cache is not None
        named = self.named
        if isinstance(kv_cache, KvCacheSubset):
            named = {name: select_columns(value, kv_cache.columns, kv_cache.n_columns) for name, value in named.items()}
        return block(resid, **{**named, self.cache: kv_cache})


def recorder(calls: list[BlockCall | None], layer: int, place: torch.device) -> Callable[..., None]:
    """A hook before block number `layer`, which is on the device `place`: it puts the block's call into `calls`."""

    def record(block: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kwargs = {name: _on(value, place) for name, value in kwargs.items() if name != "hidden_states"}
        args = _on(args[1:], place)
        original: Any = block.original_component
        parameters = list(inspect.signature(original.forward).parameters)
        named = dict.fromkeys(name for name in CACHES if name in parameters)
        # The residual is the first parameter.
        named |= dict(zip(parameters[1:], args, strict=False)) | kwargs
        calls[layer] = BlockCall(args, kwargs, named)

    return record


def _on(value: Any, place: torch.device) -> Any:
    """`value` with all tensors in it on `place`."""
    if isinstance(value, Tensor):
        return value.to(place)
    if isinstance(value, dict):
        return {name: _on(part, place) for name, part in value.items()}
    return type(value)(_on(part, place) for part in value) if type(value) in (tuple, list) else value
