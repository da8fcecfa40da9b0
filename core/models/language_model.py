"""A language model that can be replayed from any block: from the residual stream to the logits of the answers.

TransformerBridge has no ``start_at_layer``. One forward pass for each sequence length records the arguments of every
block (`block_arguments.py`); a replay calls the blocks with those arguments and another residual. `verify` compares it
with the plain pass. Rows of tokens are padded on the right, unless `left_padding.py` moves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.choices import PaddingKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.models.block_arguments import BlockCall, BlockRecordings
from circuit_tui.core.models.compat.attention_patterns import drop_patterns
from circuit_tui.core.models.compat.gelu import fuse_gelu
from circuit_tui.core.models.compat.native_norms import use_native_norms
from circuit_tui.core.models.fast_paths import TokenFilter
from circuit_tui.core.models.hf_reference import ReferencePass
from circuit_tui.core.models.kv_cache import BlockCache, KvCache, KvCacheSubset


class _FirstBlockReached(Exception):
    """Ends a forward pass early, with the residual stream that enters the first block."""

    def __init__(self, resid: Tensor) -> None:
        super().__init__()
        self.resid = resid


class LanguageModel:
    """A frozen causal language model behind a TransformerBridge. It is the `BlockRunner` of rows padded on the right.

    Attributes:
        bridge: the TransformerBridge; every parameter frozen, evaluation mode.
        tokenizer: the Hugging Face tokenizer as it was saved; the bridge's own may have been given a BOS.
        name: the name or folder that the user gave. `revision` and `weights_sha256` say which weights those were.
        processing: ``"none"``, or the weight processing that the SAEs asked for.
        padding_side: the side on which `left_padding.runner_for` pads rows.
        can_run_subset: whether `run_blocks` can run some tokens on a cache of the others; `verify` finds out.
        can_share_prefixes: whether rows that begin alike can run once; `shared_prefixes.verify_sharing` finds out.
        block_devices: the device of each block. Everything else is on `device`; the stream goes from block to block.
        recordings: the arguments of the blocks, for each shape of rows that has run.
        folder: where the model was loaded from, None if it was made in memory.
        passes: Hugging Face's own passes over a few prompts, recorded while the model was loaded.
        n_embeddings: the number of tokens that the model has an embedding for.
        unused_weights: names of the checkpoint's weights that the model does not use.
        soft_cap: the cap c of its logits c tanh(z / c), None if there is none.
    """

    def __init__(
        self, bridge: Any, name: str, revision: str, weights_sha256: str, processing: str, tokenizer: Any
    ) -> None:
        self.bridge = bridge
        self.tokenizer = tokenizer
        self.name = name
        self.revision = revision
        self.weights_sha256 = weights_sha256
        self.processing = processing
        self.bridge.eval()
        self.bridge.requires_grad_(False)
        drop_patterns(self.bridge)
        self._first_weight: Tensor = next(iter(self.bridge.parameters()))
        self.block_devices = [next(iter(block.parameters())).device for block in bridge.blocks]
        self.padding_side: PaddingKind = "right"
        self.recordings = BlockRecordings(bridge, self.block_devices)
        self.folder: Path | None = None
        self.passes: tuple[ReferencePass, ...] = ()
        self.n_embeddings = int(bridge.cfg.d_vocab)
        self.unused_weights: tuple[str, ...] = ()
        self._hook_points: dict[str, torch.nn.Module] = {}
        self._last_mlp: TokenFilter | None = None
        self.can_run_subset = self.can_share_prefixes = False
        cap = getattr(bridge.cfg, "output_logits_soft_cap", None)
        self.soft_cap = float(cap) if cap is not None and cap > 0 else None

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return int(self.bridge.cfg.n_layers)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.bridge.cfg.d_model)

    @property
    def token_work(self) -> int:
        """Operations of one token in one block, forward: about 24 d^2 (Kaplan et al. 2020, "Scaling Laws", table 1)."""
        return 24 * self.d_model**2

    @property
    def n_heads(self) -> int:
        """Number of attention heads in a block."""
        return int(self.bridge.cfg.n_heads)

    @property
    def d_heads(self) -> int:
        """Width of the outputs of all heads side by side."""
        return self.n_heads * int(self.bridge.cfg.d_head)

    @property
    def context_length(self) -> int | None:
        """The largest number of tokens that the model reads, None where its configuration does not say."""
        limit = getattr(self.bridge.cfg, "n_ctx", None)
        return int(limit) if limit else None

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of the keys and values of one token in one block."""
        cfg = self.bridge.cfg
        heads = int(getattr(cfg, "n_key_value_heads", None) or cfg.n_heads)
        return 2 * heads * int(cfg.d_head) * self.dtype.itemsize

    @property
    def device(self) -> torch.device:
        """The device of the embedding, of the residual stream between blocks, and of everything outside of blocks."""
        return self._first_weight.device

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """Every device that has a part of the model, `device` first."""
        return tuple(dict.fromkeys([self.device, *self.block_devices]))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights and of the residual stream."""
        return self._first_weight.dtype

    def hook_point(self, name: str) -> torch.nn.Module:
        """The hook point `name` of the bridge.

        Raises:
            UserError: it has none of that name.
        """
        if name not in self._hook_points:
            points = self.bridge.hook_dict  # which the bridge puts together anew each time, in milliseconds
            if name not in points:
                raise UserError(f"--model {self.name}: the model has no hook {name}")
            self._hook_points[name] = points[name]
        return self._hook_points[name]

    @torch.no_grad()
    def embed(self, tokens: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """The residual stream `[row, position, d_model]` that enters block 0, of `tokens` `[row, position]`.

        `attention_mask` `[row, position]` is 0 at padding; without one all padding is on the right.

        Raises:
            UserError: more tokens than the model reads.
        """
        limit = self.context_length
        if limit is not None and tokens.shape[1] > limit:
            raise UserError(
                f"--model {self.name}: a prompt has {tokens.shape[1]} tokens, but the model reads at most {limit}"
            )

        def capture(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _FirstBlockReached(args[0] if args else kwargs["hidden_states"])

        handle = self.bridge.blocks[0].register_forward_pre_hook(capture, with_kwargs=True)
        masks = {} if attention_mask is None else {"attention_mask": attention_mask}
        try:
            self.bridge(tokens.to(self.device), return_type="logits", use_cache=False, **masks)
        except _FirstBlockReached as reached:
            return reached.resid.to(self.device)
        finally:
            handle.remove()
        raise RuntimeError("the forward pass never reached block 0")

    def run_blocks(
        self,
        resid: Tensor,
        start: int,
        stop: int,
        kv_cache: BlockCache | None = None,
        calls: Sequence[BlockCall] | None = None,
    ) -> Tensor:
        """Runs blocks `start` up to, not including, `stop` on the residual stream `[row, position, d_model]`.

        A `KvCache` records keys and values; a `KvCacheSubset` names the token columns of `resid` and has keys and
        values of all others. Both need `can_run_subset`. `calls` are the recorded arguments of every block, those of
        rows padded on the right if None.
        """
        return self._run(resid, start, stop, kv_cache, calls).to(self.device)

    def to_block_layout(self, x: Tensor) -> Tensor:
        """`x` itself: outside and inside of blocks rows start at index 0."""
        return x

    def from_block_layout(self, x: Tensor) -> Tensor:
        """`x` itself: outside and inside of blocks rows start at index 0."""
        return x

    def _run(
        self,
        resid: Tensor,
        start: int,
        stop: int,
        kv_cache: BlockCache | None,
        calls: Sequence[BlockCall] | None,
    ) -> Tensor:
        """Like `run_blocks`, but leaves the result on the device of the last block that ran."""
        if start >= stop:  # a cache of no block does not know its columns
            return resid
        calls = self._recorded(resid, kv_cache) if calls is None else calls
        for layer in range(start, stop):
            out = calls[layer].run(self.bridge.blocks[layer], resid.to(self.block_devices[layer]), kv_cache)
            resid = out[0] if isinstance(out, tuple) else out
        return resid

    def _recorded(self, resid: Tensor, kv_cache: BlockCache | None) -> Sequence[BlockCall]:
        """Returns the blocks' recorded calls for the columns of `resid`, or for those that `kv_cache` is a part of."""
        return self.recordings.for_length(kv_cache.n_columns if isinstance(kv_cache, KvCacheSubset) else resid.shape[1])

    def logits_from(
        self,
        resid: Tensor,
        start: int,
        columns: Tensor,
        rows: Tensor | None = None,
        kv_cache: BlockCache | None = None,
        calls: Sequence[BlockCall] | None = None,
    ) -> Tensor:
        """`logits` of the residual `[row, position, d_model]` that enters block `start`.

        `kv_cache` and `calls` as in `run_blocks`; `columns` are indices into the columns of `resid`.
        """
        rows = torch.arange(resid.shape[0], device=resid.device) if rows is None else rows
        return self.logits(self.final_resid(resid, start, columns, rows, kv_cache, calls), columns, rows)

    def final_resid(
        self,
        resid: Tensor,
        start: int,
        columns: Tensor,
        rows: Tensor,
        kv_cache: BlockCache | None = None,
        calls: Sequence[BlockCall] | None = None,
    ) -> Tensor:
        """The last block's output `[row, position, d_model]`, of the residual that enters block `start`.

        Only the tokens at `rows` `[read]`, `columns` `[read]` are right: the last MLP may leave out all others.
        """
        if self._last_mlp is None or start == self.n_layers:
            return self._run(resid, start, self.n_layers, kv_cache, calls)
        # What is not recorded yet runs a plain pass, which the filter must not see.
        calls = self._recorded(resid, kv_cache) if calls is None else calls
        resid = self._run(resid, start, self.n_layers - 1, kv_cache, calls)
        with self._last_mlp.only(rows, columns):
            return self._run(resid, self.n_layers - 1, self.n_layers, kv_cache, calls)

    def logits(self, resid: Tensor, columns: Tensor, rows: Tensor | None = None) -> Tensor:
        """Float32 logits `[read, vocab]` of the last block's output `[row, position, d_model]`.

        They are read at token index `columns` `[read]` of the rows `rows` `[read]`; once in each row if None.
        """
        rows = torch.arange(resid.shape[0], device=resid.device) if rows is None else rows
        read = resid[rows.to(resid.device), columns.to(resid.device)].unsqueeze(1)
        final = self.bridge.ln_final(read.to(self._device_of(self.bridge.ln_final)))
        unembed = self.bridge.unembed
        logits: Tensor = unembed(final.to(self._device_of(unembed)))[:, 0].float().to(self.device)
        if self.soft_cap is not None:
            logits = torch.tanh(logits / self.soft_cap) * self.soft_cap
        return logits

    @property
    def final_norm_device(self) -> torch.device:
        """The device of the final norm."""
        return self._device_of(self.bridge.ln_final)

    def _device_of(self, module: torch.nn.Module) -> torch.device:
        weight = next(iter(module.parameters()), None)
        return self.block_devices[-1] if weight is None else weight.device

    @torch.no_grad()
    def verify(self, tokens: Tensor, columns: Tensor) -> float:
        """Turns on the fast paths that agree with a plain forward pass; returns how far a replay is off from it.

        The logits compared are those of `tokens` `[row, position]` at `columns` `[row]`; the difference returned is
        the largest of all.

        Raises:
            UserError: they differ by more than the dtype's rounding: this architecture cannot be replayed.
        """
        columns, resid = columns.to(self.device), self.embed(tokens)
        plain = self.bridge(tokens.to(self.device), return_type="logits", use_cache=False).float().to(self.device)
        plain = plain[torch.arange(tokens.shape[0], device=self.device), columns]
        tolerance = self.tolerance(plain)
        fuse_gelu(self.bridge)
        use_native_norms(self.bridge)
        mlp = getattr(self.bridge.blocks[-1], "mlp", None)
        if mlp is not None and self._last_mlp is None:
            self._last_mlp = TokenFilter(mlp)
        difference = float((plain - self.logits_from(resid, 0, columns)).abs().max())
        if not difference <= tolerance and self._last_mlp is not None:
            self._last_mlp.remove()
            self._last_mlp = None
            difference = float((plain - self.logits_from(resid, 0, columns)).abs().max())
        if not difference <= tolerance:
            raise UserError(
                f"--model {self.name}: replaying its blocks gives other logits than the plain forward pass "
                f"(off by {difference:.2g}): this architecture is not supported"
            )
        self.can_run_subset = self._subset_agrees(tokens, columns, plain, tolerance)
        return difference

    def tolerance(self, logits: Tensor) -> float:
        """By how much two computations of the same `logits` may differ in this dtype."""
        return (1e-4 if self.dtype == torch.float32 else 5e-2) * max(1.0, float(logits.abs().max()))

    def _subset_agrees(self, tokens: Tensor, columns: Tensor, plain: Tensor, tolerance: float) -> bool:
        """Whether some tokens alone, on a cache of the others, give the logits `plain`.

        A first pass records the cache of an altered residual, a second runs the altered tokens with their own residual:
        the logits must move, and come back.
        """
        calls = self.recordings.for_length(tokens.shape[1])
        if any(call.cache_parameter is None or call.named.get("attention_mask") is None for call in calls):
            return False
        recorded, resid = KvCache(), self.embed(tokens)
        altered = resid.clone()
        some = torch.cat([columns, columns.min().reshape(1) // 2]).unique()
        altered[:, some] = altered[:, some].flip(-1)
        moved = self.logits_from(altered, 0, columns, kv_cache=recorded)
        if len(recorded.layers) < self.n_layers:
            return False
        # Later tokens attend to the altered ones: all columns from the first of these on run again, none before.
        again = torch.arange(int(some[0]), tokens.shape[1], device=self.device)
        logits = self.logits_from(resid[:, again], 0, columns - again[0], kv_cache=recorded.subset(again))
        far = float((moved - plain).abs().max()) > 10 * tolerance
        return far and float((logits - plain).abs().max()) <= tolerance

    def record(self, length: int) -> None:
        """Records the blocks' arguments for rows of `length` tokens, so that threads and hooks can then replay them."""
        self.recordings.for_length(length)
