"""What the frozen part of an edge holds: attention patterns and the scales of norms, and each head's own weights.

The freezes are those of circuit-tracer (Ameisen et al. 2025). A norm with its scale held is linear,
`norm(d) = gain * (d - mean(d)) / scale`, without the mean for RMS norms. Before anything is computed, heads taken apart
are put together again: `sum over heads (pattern @ (norm(x) W_V + b_V)) W_O + b_O` must be what the attention adds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.edges.circuit_pass import CircuitPass
from circuit_tui.core.edges.ends import TOKENS
from circuit_tui.core.errors import UserError
from circuit_tui.core.models.language_model import LanguageModel

TOLERANCE = 1e-3
"""By how much heads put together may differ from what their attention adds, as a share of the largest value."""


@dataclass(frozen=True, slots=True)
class Heads:
    """The weights of one block's attention heads; those of grouped queries repeated for each head.

    Attributes:
        value: `[head, d_model, d_head]` from the normed stream.
        value_bias: `[head, d_head]`.
        output: `[head, d_head, d_model]` to the stream, with the gain of a norm behind the attention.
        output_bias: `[d_model]`, before that norm.
    """

    value: Tensor
    value_bias: Tensor
    output: Tensor
    output_bias: Tensor


@dataclass(frozen=True, slots=True)
class Norm:
    """A norm's gain `[d_model]`, and whether it subtracts the mean."""

    gain: Tensor
    centred: bool

    def linear(self, x: Tensor) -> Tensor:
        """`x` `[..., d_model]` through the norm but for its scale and bias."""
        return (x - x.mean(-1, keepdim=True) if self.centred else x) * self.gain

    def adjoint(self, directions: Tensor) -> Tensor:
        """Directions `[..., d_model]` whose products with x are those of `directions` with `linear(x)`."""
        gained = directions * self.gain
        return gained - gained.mean(-1, keepdim=True) if self.centred else gained


@dataclass(frozen=True, slots=True)
class Freezes:
    """What is held of one circuit pass; lists have one entry for each block.

    Attributes:
        patterns: `[row, head, query, key]`.
        norms, scales: the norm before attention and its scale `[row, position, 1]`.
        heads: the heads' weights.
        post_scales: the scale of a norm behind the attention, None if there is none.
        mlp_norms, mlp_scales: the norm before the MLP and its scale; None where the block has none.
        final_norm, final_scale: the norm before the unembedding and its scale `[read, 1]`.
    """

    patterns: list[Tensor]
    norms: list[Norm]
    scales: list[Tensor]
    heads: list[Heads]
    post_scales: list[Tensor | None]
    mlp_norms: list[Norm | None]
    mlp_scales: list[Tensor | None]
    final_norm: Norm
    final_scale: Tensor


CHECKED_ROWS = 4
"""How many rows the check of the heads runs on."""


class HookRecorder:
    """Keeps what passes some hook points of a model while it is open."""

    def __init__(self, model: LanguageModel, names: list[str]) -> None:
        self.seen: dict[str, Tensor] = {}
        points = model.bridge.hook_dict
        self._handles = [
            points[name].register_forward_hook(self._keep(name)) for name in dict.fromkeys(names) if name in points
        ]

    def _keep(self, name: str) -> Any:
        def keep(_: Any, __: Any, out: Tensor) -> None:
            self.seen[name] = out.detach()

        return keep

    def __enter__(self) -> dict[str, Tensor]:
        return self.seen

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()


@torch.no_grad()
def record_freezes(circuit: CircuitPass) -> Freezes:
    """Returns the freezes of a circuit's pass.

    Raises:
        UserError: the heads of this architecture cannot be taken apart.
    """
    model = circuit.problem.model
    check_heads(model, circuit.prompts.embedding[:CHECKED_ROWS])
    with HookRecorder(model, _held_points(model)) as seen:
        nothing = torch.zeros_like(circuit.prompts.embedding).unsqueeze(0)
        circuit.run_changed(TOKENS, nothing, circuit.space.n_sites, respond=True)
    return _freezes(model, circuit.n_rows, seen)


@torch.no_grad()
def record_plain_pass(model: LanguageModel, embedding: Tensor) -> tuple[Freezes, list[Tensor], Tensor]:
    """Returns the freezes of M's own pass over one row, the stream that enters each block, and the logits.

    `embedding` is `[1, position, d_model]`. The streams `[1, position, d_model]` end with the one that leaves the last
    block; the logits `[position, vocab]` are read at every token, and so is the scale of the final norm.

    Raises:
        UserError: the heads of this architecture cannot be taken apart.
    """
    columns = torch.arange(embedding.shape[1], device=embedding.device)
    streams = [embedding]
    with HookRecorder(model, [*_held_points(model), *_checked_points(model)]) as seen:
        for layer in range(model.n_layers):
            streams.append(model.run_blocks(streams[-1], layer, layer + 1))
        logits = model.logits(streams[-1], columns, torch.zeros_like(columns))
    _check_blocks(model, seen)
    return _freezes(model, 1, seen), streams, logits


def _held_points(model: LanguageModel) -> list[str]:
    """The hook points that a freeze needs."""
    points = "ln1.hook_scale", "attn.hook_pattern", "ln1_post.hook_scale", "ln2.hook_scale"
    return ["ln_final.hook_scale", *(f"blocks.{layer}.{point}" for layer in range(model.n_layers) for point in points)]


def _freezes(model: LanguageModel, n_rows: int, seen: dict[str, Tensor]) -> Freezes:
    blocks = [_Block(model, layer, seen) for layer in range(model.n_layers)]
    final_norm, final_scale = _norm(model.bridge.ln_final, model), seen["ln_final.hook_scale"]
    return Freezes(
        [block.pattern for block in blocks],
        [block.norm for block in blocks],
        [block.scale.reshape(n_rows, -1, 1) for block in blocks],
        [block.heads for block in blocks],
        [block.post_scale for block in blocks],
        [block.mlp_norm for block in blocks],
        [block.mlp_scale for block in blocks],
        final_norm,
        final_scale.reshape(-1, 1),
    )


def check_heads(model: LanguageModel, embedding: Tensor) -> None:
    """Raises UserError unless the heads of each block, put together, do what its attention does in a plain pass."""
    with HookRecorder(model, _checked_points(model)) as seen:
        model.run_blocks(embedding, 0, model.n_layers)
    _check_blocks(model, seen)


def _checked_points(model: LanguageModel) -> list[str]:
    """The hook points that `_check_blocks` needs."""
    points = "hook_in", "ln1.hook_scale", "attn.hook_pattern", "attn.hook_z", "attn.o.hook_out"
    return [f"blocks.{layer}.{point}" for layer in range(model.n_layers) for point in points]


def _check_blocks(model: LanguageModel, seen: dict[str, Tensor]) -> None:
    """Raises what `check_heads` raises, for a plain pass of which `seen` has the checked hook points."""
    for layer in range(model.n_layers):
        try:
            adds_up = _Block(model, layer, seen).adds_up()
        except (AttributeError, KeyError, RuntimeError, ValueError, TypeError) as error:
            raise _refused(model, f"{type(error).__name__}: {error}".splitlines()[0]) from error
        if not adds_up:
            raise _refused(model, f"those of block {layer} do not add up to what its attention does")


class _Block:
    """The freezes of one block, of what passed its hook points."""

    def __init__(self, model: LanguageModel, layer: int, seen: dict[str, Tensor]) -> None:
        self.layer, self._seen = layer, seen
        block, cfg = model.bridge.blocks[layer], model.bridge.cfg
        self.pattern, self.scale = seen[f"blocks.{layer}.attn.hook_pattern"], seen[f"blocks.{layer}.ln1.hook_scale"]
        self.norm = _norm(block.ln1, model)
        self._norm1 = block.ln1
        n_heads, width = self.pattern.shape[1], int(cfg.d_head)
        value, output = block.attn.W_V, block.attn.W_O
        if value.dim() != 3 or output.shape != (n_heads, width, model.d_model):
            raise ValueError(f"W_V is {tuple(value.shape)}, W_O {tuple(output.shape)}")
        bias = block.attn.b_V
        bias = value.new_zeros(len(value), value.shape[-1]) if bias is None else bias.reshape(len(value), -1)
        repeat = n_heads // len(value)
        output_bias = block.attn.b_O
        output_bias = value.new_zeros(model.d_model) if output_bias is None else output_bias
        self.post_scale: Tensor | None = None
        self._raw_output = output
        if hasattr(block, "ln1_post"):
            post = _norm(block.ln1_post, model)
            self.post_scale = seen.get(f"blocks.{layer}.ln1_post.hook_scale")
            output = post.linear(output)
        self.heads = Heads(value.repeat_interleave(repeat, 0), bias.repeat_interleave(repeat, 0), output, output_bias)
        self.mlp_norm: Norm | None = None
        self.mlp_scale: Tensor | None = None
        if hasattr(block, "ln2"):
            self.mlp_norm, self.mlp_scale = _norm(block.ln2, model), seen.get(f"blocks.{layer}.ln2.hook_scale")

    def adds_up(self) -> bool:
        """Whether the heads, put together, give the heads' outputs and what the attention adds."""
        stream = self._seen[f"blocks.{self.layer}.hook_in"]
        normed = self._norm1.original_component(stream)
        value = torch.einsum("rpd,hde->rhpe", normed, self.heads.value) + self.heads.value_bias[:, None]
        z = (self.pattern @ value).movedim(1, 2)
        linear = self.norm.linear(stream) / self.scale + self._norm1.original_component(torch.zeros_like(stream))
        expected = self._seen[f"blocks.{self.layer}.attn.hook_z"].reshape(z.shape)
        mixed = torch.einsum("rphe,hed->rpd", expected, self._raw_output) + self.heads.output_bias
        added = self._seen[f"blocks.{self.layer}.attn.o.hook_out"]
        return _close(z, expected) and _close(linear, normed) and _close(mixed, added)


def _close(x: Tensor, y: Tensor) -> bool:
    return bool((x - y).abs().max() <= TOLERANCE * y.abs().max().clamp(min=1e-6))


def _norm(module: Any, model: LanguageModel) -> Norm:
    """The linear part of a norm, found by running it: of alternating signs any norm makes gain * sign + bias."""
    signs = torch.full((model.d_model,), 1e3, dtype=model.dtype, device=model.device)
    signs[1::2] *= -1
    one, other = module(torch.stack([signs, -signs]).unsqueeze(1))[:, 0]
    shifted = module((signs + 1e3).reshape(1, 1, -1))[0, 0]
    gain: Tensor = (one - other) * signs / 2e3
    return Norm(gain, bool(torch.allclose(shifted, one, rtol=1e-2, atol=1e-2 * float(one.abs().max()))))


def _refused(model: LanguageModel, why: str) -> UserError:
    return UserError(f"--model {model.name}: the heads of this architecture cannot be taken apart for edges ({why})")
