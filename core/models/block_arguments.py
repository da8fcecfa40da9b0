"""The arguments that each block of a model gets besides the residual stream, recorded in a plain pass for replays.

Under causal attention no token sees the padding to its right, so positions and mask depend on the length of the rows
alone: one recording serves every batch of that length. Where rows are padded on the left they depend on the lengths of
all rows, and a recording serves batches of the same lengths.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.models.kv_cache import BlockCache, KvCacheSubset, select_columns

CACHE_PARAMETERS = ("past_key_values", "layer_past")
"""Names that Hugging Face's blocks give to their key-value cache."""
MAX_LEFT_PADDED = 8
"""How many recordings of rows padded on the left are kept."""


@dataclass(frozen=True, slots=True)
class BlockCall:
    """The arguments of one block; `named` has all of them by the names of the block's parameters."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    named: dict[str, Any]

    @property
    def cache_parameter(self) -> str | None:
        """The parameter that takes the key-value cache, None if the block has none."""
        return next((name for name in CACHE_PARAMETERS if name in self.named), None)

    def run(self, block: torch.nn.Module, resid: Tensor, kv_cache: BlockCache | None) -> Any:
        """Calls `block` with these arguments on the residual `resid`; `kv_cache` as in `LanguageModel.run_blocks`."""
        if kv_cache is None:
            return block(resid, *self.args, **self.kwargs)
        assert self.cache_parameter is not None
        named = self.named
        if isinstance(kv_cache, KvCacheSubset):
            named = {name: select_columns(value, kv_cache.columns, kv_cache.n_columns) for name, value in named.items()}
        return block(resid, **{**named, self.cache_parameter: kv_cache})


class BlockRecordings:
    """The calls of all blocks of one model, recorded when rows of a new shape first run and kept.

    A recording hooks the model's own modules: while one is made, no other thread may run the model.
    """

    def __init__(self, bridge: Any, block_devices: list[torch.device]) -> None:
        self._bridge, self._block_devices = bridge, block_devices
        self.right_padded: dict[int, list[BlockCall]] = {}
        self.left_padded: dict[tuple[int, ...], list[BlockCall]] = {}

    def for_length(self, length: int) -> list[BlockCall]:
        """The call of each block on rows of `length` tokens, padding on the right included."""
        if length not in self.right_padded:
            self.right_padded[length] = self._record(1, length)
        return self.right_padded[length]

    def for_left_padded(self, attention_mask: Tensor) -> list[BlockCall]:
        """The call of each block on rows padded on the left; `attention_mask` `[row, position]` is 0 at padding."""
        n_rows, length = attention_mask.shape
        key = (length, *attention_mask.sum(1).tolist())
        if key not in self.left_padded:
            for oldest in list(self.left_padded)[: 1 - MAX_LEFT_PADDED]:
                del self.left_padded[oldest]
            self.left_padded[key] = self._record(n_rows, length, attention_mask=attention_mask)
        return self.left_padded[key]

    @torch.no_grad()
    def _record(self, n_rows: int, length: int, **masks: Tensor) -> list[BlockCall]:
        """Runs a plain pass over `n_rows` rows of `length` tokens and returns the call of each block."""
        calls: dict[int, BlockCall] = {}
        handles = [
            block.register_forward_pre_hook(_recorder(calls, layer, device), with_kwargs=True)
            for layer, (block, device) in enumerate(zip(self._bridge.blocks, self._block_devices, strict=True))
        ]
        try:
            device = next(iter(self._bridge.parameters())).device
            tokens = torch.zeros(n_rows, length, dtype=torch.long, device=device)
            self._bridge(tokens, return_type="logits", use_cache=False, **masks)
        finally:
            for handle in handles:
                handle.remove()
        return [calls[layer] for layer in sorted(calls)]


def _recorder(calls: dict[int, BlockCall], layer: int, device: torch.device) -> Callable[..., None]:
    """Returns a hook that puts the call of block number `layer`, which is on `device`, into `calls`."""

    def record(block: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kwargs = {name: _to_device(value, device) for name, value in kwargs.items() if name != "hidden_states"}
        args = _to_device(args[1:], device)
        original: Any = block.original_component
        parameters = list(inspect.signature(original.forward).parameters)
        named = dict.fromkeys(name for name in CACHE_PARAMETERS if name in parameters)
        # The residual is the first parameter.
        named |= dict(zip(parameters[1:], args, strict=False)) | kwargs
        calls[layer] = BlockCall(args, kwargs, named)

    return record


def _to_device(value: Any, device: torch.device) -> Any:
    """Returns `value` with all tensors in it moved to `device`."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: _to_device(part, device) for name, part in value.items()}
    return type(value)(_to_device(part, device) for part in value) if type(value) in (tuple, list) else value
