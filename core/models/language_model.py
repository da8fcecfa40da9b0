"""A language model that can be replayed from any block: the residual stream in, logits at the answer position out.

TransformerBridge has no ``start_at_layer``. One forward pass for each sequence length records the arguments every block
receives; a replay calls the blocks with those arguments and another residual. `verify` proves it against the plain
pass.

Prompts are right-padded, unless `left_padding.py` moves them. Under causal attention no real token sees the padding,
so positions and mask depend on the sequence length alone and a recording made with one prompt serves a batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.choices import PaddingKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.models.block_arguments import BlockCall, OptionalKvCache, recorder
from circuit_tui.core.models.fast_paths import TokenFilter, drop_patterns, fuse_gelu, skip_unwatched
from circuit_tui.core.models.kv_cache import KvCache, KvCacheSubset


class _Captured(Exception):
    """Ends a forward pass early, carrying the residual stream that enters the first block."""

    def __init__(self, resid: Tensor) -> None:
        super().__init__()
        self.resid = resid


class LanguageModel:
    """A frozen causal language model behind a TransformerBridge.

    Attributes:
        bridge: the TransformerBridge; every parameter frozen, evaluation mode.
        tokenizer: the Hugging Face tokenizer; not the bridge's, which may have been given a BOS.
        name: what the user asked for. `revision` and `weights_sha256` say which weights those were.
        processing: ``"none"``, or the weight processing that the SAEs asked for.
        padding_side: on which side of the tokens; `left_padding.padded` gives a view that does it.
        remembers: whether `blocks` can run some tokens given keys and values of the others; `verify` finds out.
        places: the device of each block. Everything else is on `device`; the stream goes from block to block.
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
        self._a_weight: Tensor = next(iter(self.bridge.parameters()))
        self.block_devices = [next(iter(block.parameters())).device for block in bridge.blocks]
        self.padding_side: PaddingKind = "right"
        # By the length alone; where rows are padded on the left, by that and the lengths of all rows.
        self._calls: dict[int | tuple[int, ...], list[BlockCall]] = {}
        self._last_mlp: TokenFilter | None = None
        self.can_run_subset = False
        cap = getattr(bridge.cfg, "output_logits_soft_cap", None)
        self._soft_cap = float(cap) if cap is not None and cap > 0 else None

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return int(self.bridge.cfg.n_layers)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.bridge.cfg.d_model)

    @property
    def d_heads(self) -> int:
        """Width of the outputs of all heads side by side."""
        return int(self.bridge.cfg.n_heads) * int(self.bridge.cfg.d_head)

    @property
    def kv_bytes_per_token(self) -> int:
        """What the keys and values of one token in one block take."""
        cfg = self.bridge.cfg
        heads = int(getattr(cfg, "n_key_value_heads", None) or cfg.n_heads)
        return 2 * heads * int(cfg.d_head) * self.dtype.itemsize

    @property
    def device(self) -> torch.device:
        """Where the embedding is, and everything that is not a block's."""
        return self._a_weight.device

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """Every device that has a part of the model, `device` first."""
        return tuple(dict.fromkeys([self.device, *self.block_devices]))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights and of the residual stream."""
        return self._a_weight.dtype

    @torch.no_grad()
    def embed(self, tokens: Tensor) -> Tensor:
        """The residual stream entering block 0, `[prompt, position, d_model]`, of tokens `[prompt, position]`.

        Raises:
            UserError: more tokens than the model reads.
        """
        limit = int(getattr(self.bridge.cfg, "n_ctx", None) or tokens.shape[1])
        if tokens.shape[1] > limit:
            raise UserError(
                f"--model {self.name}: a prompt has {tokens.shape[1]} tokens, but the model reads at most {limit}"
            )

        def capture(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _Captured(args[0] if args else kwargs["hidden_states"])

        handle = self.bridge.blocks[0].register_forward_pre_hook(capture, with_kwargs=True)
        try:
            masks = self._masks(tokens.shape[1])
            self.bridge(tokens.to(self.device), return_type="logits", use_cache=False, **masks)
        except _Captured as captured:
            return captured.resid.to(self.device)
        finally:
            handle.remove()
        raise RuntimeError("the forward pass never reached block 0")

    def blocks(self, resid: Tensor, start: int, stop: int, kv_cache: OptionalKvCache = None) -> Tensor:
        """Runs blocks `start` up to, not including, `stop` on the residual stream `[row, position, d_model]`.

        `kv_cache` records keys and values; or it names the token columns of `resid` and has those of all others. Only
        where `can_run_subset` is true.
        """
        return self._run_blocks(resid, start, stop, kv_cache).to(self.device)

    def to_blocks(self, x: Tensor) -> Tensor:
        """`x` `[row, position, …]` laid out as within a block."""
        return x

    def from_blocks(self, x: Tensor) -> Tensor:
        """What is within a block, `[row, position, …]`, laid out as everywhere else."""
        return x

    def _run_blocks(self, resid: Tensor, start: int, stop: int, kv_cache: OptionalKvCache) -> Tensor:
        """`blocks` within that layout, and where the last of them leaves it."""
        calls = self._recorded(kv_cache.n_columns if isinstance(kv_cache, KvCacheSubset) else resid.shape[1])
        for layer in range(start, stop):
            out = calls[layer].run(self.bridge.blocks[layer], resid.to(self.block_devices[layer]), kv_cache)
            resid = out[0] if isinstance(out, tuple) else out
        return resid

    def logits_from(
        self,
        resid: Tensor,
        start: int,
        at: Tensor,
        rows: Tensor | None = None,
        kv_cache: OptionalKvCache = None,
    ) -> Tensor:
        """`logits` of a residual `[row, position, d_model]` that enters block `start`.

        `kv_cache` as in `blocks`; `at` is an index into the columns of `resid`.
        """
        if self._last_mlp is None or start == self.n_layers:
            return self.logits(self._run_blocks(resid, start, self.n_layers, kv_cache), at, rows)
        resid = self._run_blocks(resid, start, self.n_layers - 1, kv_cache)
        rows = torch.arange(resid.shape[0], device=resid.device) if rows is None else rows
        with self._last_mlp.reading(rows, at):
            resid = self._run_blocks(resid, self.n_layers - 1, self.n_layers, kv_cache)
        return self.logits(resid, at, rows)

    def logits(self, resid: Tensor, at: Tensor, rows: Tensor | None = None) -> Tensor:
        """Float32 logits `[read, vocab]` of the last block's output `[row, position, d_model]`.

        Read at token index `at` `[read]` of the rows `rows` `[read]`; of each row once, in order, if None.
        """
        rows = torch.arange(resid.shape[0], device=resid.device) if rows is None else rows
        last = resid[rows.to(resid.device), at.to(resid.device)].unsqueeze(1)
        final = self.bridge.ln_final(last.to(self._place(self.bridge.ln_final)))
        logits: Tensor = self.bridge.unembed(final.to(self._place(self.bridge.unembed)))[:, 0].float().to(self.device)
        if self._soft_cap is not None:
            logits = torch.tanh(logits / self._soft_cap) * self._soft_cap
        return logits

    def direction_logits(self, direction: Tensor) -> Tensor:
        """Logit weight `[vocab]` of a residual direction `[d_model]`: its unembedding.

        The final norm's gain is applied, its bias and scale are left out.
        """
        # Of a vector of alternating signs any norm makes gain * sign + bias, however it stores the gain.
        signs = torch.ones(self.d_model, dtype=self.dtype, device=self._place(self.bridge.ln_final))
        signs[1::2] = -1
        with torch.no_grad():
            normed = self.bridge.ln_final(torch.stack([signs, -signs]).unsqueeze(1))[:, 0]
            gain = (normed[0] - normed[1]) * signs / 2
            weights: Tensor = self.bridge.unembed.W_U.to(self.dtype)
            gained = direction.to(gain.device, self.dtype) * gain
            result: Tensor = (gained.to(weights.device) @ weights).float()
        return result.to(self.device)

    def _place(self, module: torch.nn.Module) -> torch.device:
        weight = next(iter(module.parameters()), None)
        return self.block_devices[-1] if weight is None else weight.device

    @torch.no_grad()
    def verify(self, tokens: Tensor, answer: Tensor) -> float:
        """Takes the shortcuts that agree; the largest difference between a replay and the plain forward pass.

        Both are of `tokens` `[prompt, position]` at `answer` `[prompt]`.

        Raises:
            UserError: they differ by more than the dtype's rounding: this architecture cannot be replayed.
        """
        answer, resid = answer.to(self.device), self.embed(tokens)
        plain = self.bridge(tokens.to(self.device), return_type="logits", use_cache=False).float().to(self.device)
        plain = plain[torch.arange(tokens.shape[0], device=self.device), answer]
        allowed = self.tolerance(plain)
        fuse_gelu(self.bridge)
        skip_unwatched(self.bridge)
        mlp = getattr(self.bridge.blocks[-1], "mlp", None)
        if mlp is not None and self._last_mlp is None:
            self._last_mlp = TokenFilter(mlp)
        difference = float((plain - self.logits_from(resid, 0, answer)).abs().max())
        if not difference <= allowed and self._last_mlp is not None:
            self._last_mlp.remove()
            self._last_mlp = None
            difference = float((plain - self.logits_from(resid, 0, answer)).abs().max())
        if not difference <= allowed:
            raise UserError(
                f"--model {self.name}: replaying its blocks gives other logits than the plain forward pass "
                f"(off by {difference:.2g}): this architecture is not supported"
            )
        self.can_run_subset = self._runs_some_tokens(tokens, answer, plain, allowed)
        return difference

    def tolerance(self, logits: Tensor) -> float:
        """By how much two ways to the same `logits` may differ."""
        return (1e-4 if self.dtype == torch.float32 else 5e-2) * max(1.0, float(logits.abs().max()))

    def _runs_some_tokens(self, tokens: Tensor, answer: Tensor, plain: Tensor, allowed: float) -> bool:
        """Whether some tokens alone, given keys and values of the others, give the logits `plain`.

        They are run from another residual first and then from their own: the logits must move, and come back.
        """
        calls = self._recorded(tokens.shape[1])
        if any(call.cache is None or call.named.get("attention_mask") is None for call in calls):
            return False
        recorded, resid = KvCache(), self.embed(tokens)
        other = resid.clone()
        some = torch.cat([answer, answer.min().reshape(1) // 2]).unique()
        other[:, some] = other[:, some].flip(-1)
        moved = self.logits_from(other, 0, answer, kv_cache=recorded)
        if len(recorded.layers) < self.n_layers:
            return False
        # Later tokens attend to those that moved: all columns from the first of them on, but not those before.
        back = torch.arange(int(some[0]), tokens.shape[1], device=self.device)
        logits = self.logits_from(resid[:, back], 0, answer - back[0], kv_cache=recorded.subset(back))
        far = float((moved - plain).abs().max()) > 10 * allowed
        return far and float((logits - plain).abs().max()) <= allowed

    def record(self, length: int) -> None:
        """Makes sure that rows of `length` tokens can be replayed in several threads: the recording needs one alone."""
        self._recorded(length)

    def _recorded(self, length: int) -> list[BlockCall]:
        if length not in self._calls:
            self._calls[length] = self._record(1, length)
        return self._calls[length]

    def _record(self, n_rows: int, length: int) -> list[BlockCall]:
        """What the blocks receive in a plain pass over so many rows of `length` tokens."""
        calls: list[BlockCall | None] = [None] * self.n_layers
        handles = [
            block.register_forward_pre_hook(recorder(calls, layer, self.block_devices[layer]), with_kwargs=True)
            for layer, block in enumerate(self.bridge.blocks)
        ]
        try:
            with torch.no_grad():
                tokens = torch.zeros(n_rows, length, dtype=torch.long, device=self.device)
                self.bridge(tokens, return_type="logits", use_cache=False, **self._masks(length))
        finally:
            for handle in handles:
                handle.remove()
        return [call for call in calls if call is not None]

    def _masks(self, length: int) -> dict[str, Any]:
        """What a plain pass over rows of `length` tokens is told of their padding: right of the tokens nothing."""
        return {}
