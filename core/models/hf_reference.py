"""Hugging Face's own forward pass over a few prompts: the independent source that our pass is compared with.

It is recorded while the model loads, before TransformerBridge replaces modules in it, so that nothing is loaded twice.
Each prompt runs alone, without padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError, first_line


@dataclass(frozen=True, slots=True)
class ReferencePass:
    """One prompt under Hugging Face's own model; all tensors on the CPU, float32 but for the tokens.

    Attributes:
        tokens: `[position]` int64.
        residuals: `[layer + 1, position, d_model]`: what enters each block, and what leaves the last one. Empty where
            the model's blocks could not be found.
        logits: `[vocab]` at the last token.
    """

    tokens: Tensor
    residuals: Tensor
    logits: Tensor


@torch.no_grad()
def record_passes(name: str, model: Any, prompts: Sequence[Tensor]) -> tuple[ReferencePass, ...]:
    """Runs `model`, a Hugging Face causal language model, on each of `prompts` `[position]`.

    Raises:
        UserError: a token beyond the model's embedding, or activations that are not finite; the line names `name` and
            the first block concerned.
    """
    device = next(iter(model.parameters())).device
    check_vocabulary(name, embedding_rows(model), prompts)
    found = []
    for tokens in prompts:
        with _watched_blocks(model) as streams:
            logits = model(input_ids=tokens.to(device).unsqueeze(0), use_cache=False).logits[0, -1].float().cpu()
        residuals = torch.stack(streams) if streams else torch.zeros(0, len(tokens), 0)
        _check_finite(name, model, residuals, logits)
        found.append(ReferencePass(tokens.cpu(), residuals, logits))
    return tuple(found)


def load_passes(
    name: str, folder: Path, dtype: torch.dtype, device: torch.device, prompts: Sequence[Tensor]
) -> tuple[ReferencePass, ...]:
    """Loads the model in `folder` by Hugging Face alone, and returns `record_passes` of it.

    Raises:
        UserError: as `record_passes` does.
    """
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype, attn_implementation="eager")
    return record_passes(name, model.to(device).eval(), prompts)


def embedding_rows(model: Any) -> int:
    """The number of tokens that a Hugging Face model has an embedding for."""
    return int(model.get_input_embeddings().weight.shape[0])


def check_vocabulary(name: str, rows: int, prompts: Sequence[Tensor]) -> None:
    """Raises UserError if `prompts` hold a token beyond the `rows` of the model's embedding."""
    largest = max((int(tokens.max()) for tokens in prompts if tokens.numel()), default=0)
    if largest >= rows:
        raise UserError(
            f"--model {name}: the tokenizer has token {largest}, but the model's embedding has {rows} rows; use the "
            "tokenizer that the model was trained with, or resize the embedding"
        )


@contextmanager
def _watched_blocks(model: Any) -> Iterator[list[Tensor]]:
    """Collects the residual `[position, d_model]` that enters each block, and that which leaves the last."""
    streams: list[Tensor] = []

    def entering(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        streams.append((args[0] if args else kwargs["hidden_states"])[0].float().cpu())

    def leaving(_: torch.nn.Module, __: Any, out: Any) -> None:
        streams.append((out[0] if isinstance(out, tuple) else out)[0].float().cpu())

    blocks = _blocks(model)
    handles: list[Any] = [block.register_forward_pre_hook(entering, with_kwargs=True) for block in blocks]
    handles += [block.register_forward_hook(leaving) for block in blocks[-1:]]
    try:
        yield streams
    finally:
        for handle in handles:
            handle.remove()


def _blocks(model: Any) -> list[torch.nn.Module]:
    """The decoder's blocks in order; empty where no list of modules has as many as the configuration says."""
    n_layers = int(model.config.get_text_config().num_hidden_layers)
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    for module in (decoder if isinstance(decoder, torch.nn.Module) else model).modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == n_layers:
            return list(module)
    return []


def _check_finite(name: str, model: Any, residuals: Tensor, logits: Tensor) -> None:
    dtype = str(next(iter(model.parameters())).dtype).removeprefix("torch.")
    for index, resid in enumerate(residuals):
        if not bool(torch.isfinite(resid).all()):
            where = "the embedding" if index == 0 else f"block {index - 1}"
            raise UserError(f"--model {name}: activations are not finite after {where}{_dtype_hint(dtype)}")
    if not bool(torch.isfinite(logits).all()):
        raise UserError(f"--model {name}: logits are not finite{_dtype_hint(dtype)}")


def _dtype_hint(dtype: str) -> str:
    return "" if dtype == "float32" else f" in {dtype}; try --dtype float32 or --dtype bfloat16"


class CheckedLoader:
    """Stands for a Hugging Face model class while TransformerBridge loads a model through it.

    It hears what the loader reports, checks the weights, and records passes of the model before the bridge changes it.

    Args:
        model_class: the Hugging Face class.
        name: the model's name in error messages.
        device: where the model goes; None where a device map places it.
        prompts: `[position]` each, run by `record_passes` if the model reads as many tokens.

    Attributes:
        passes: the recorded passes.
        n_embeddings: the number of tokens that the model has an embedding for.
        unused_weights: names of the checkpoint's weights that the model does not use.
    """

    def __init__(self, model_class: Any, name: str, device: torch.device | None, prompts: Sequence[Tensor]) -> None:
        self._model_class, self._name, self._device, self._prompts = model_class, name, device, prompts
        self.passes: tuple[ReferencePass, ...] = ()
        self.n_embeddings = 0
        self.unused_weights: tuple[str, ...] = ()

    def from_pretrained(self, folder: str, **settings: Any) -> Any:
        """Returns the model in `folder`.

        Raises:
            UserError: the checkpoint lacks a weight or has one of another shape, a weight is not finite, or
                `record_passes` refuses.
        """
        load: Callable[..., Any] = self._model_class.from_pretrained
        # Weights of another shape are reported, and refused here: the loader's own error does not name them.
        model, report = load(folder, output_loading_info=True, ignore_mismatched_sizes=True, **settings)
        self._hear(report)
        model = model.eval() if self._device is None else model.to(self._device).eval()
        self._check_weights(model)
        self.n_embeddings = embedding_rows(model)
        # A prompt that is too long is refused later, by its line; here it would fail as a fault of the model.
        limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        fitting = [prompt for prompt in self._prompts if limit is None or len(prompt) <= limit]
        self.passes = record_passes(self._name, model, fitting)
        return model

    def _hear(self, report: dict[str, Any]) -> None:
        """Refuses a model of which some weight would be drawn at random, and notes weights that are not used."""
        missing = sorted(str(key) for key in report.get("missing_keys", ()))
        unexpected = sorted(str(key) for key in report.get("unexpected_keys", ()))
        mismatched = sorted(report.get("mismatched_keys", ()), key=str)
        if missing:
            other = f"; it has {_listed(unexpected)}, which the model does not use" if unexpected else ""
            raise UserError(
                f"--model {self._name}: the checkpoint has no {_listed(missing)}: these weights would be drawn at "
                f"random{other}"
            )
        if mismatched:
            name, held, wanted = mismatched[0]
            more = f" (and {len(mismatched) - 1} more weights)" if len(mismatched) > 1 else ""
            raise UserError(
                f"--model {self._name}: config.json does not fit the checkpoint: {name} has shape {list(held)} there, "
                f"but the configuration makes it {list(wanted)}{more}"
            )
        for message in report.get("error_msgs", ()):
            raise UserError(f"--model {self._name}: cannot be loaded: {first_line(ValueError(message))}")
        self.unused_weights = tuple(unexpected)

    def _check_weights(self, model: torch.nn.Module) -> None:
        for name, weight in model.named_parameters():
            if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
                dtype = str(weight.dtype).removeprefix("torch.")
                raise UserError(f"--model {self._name}: the weight {name} is not finite{_dtype_hint(dtype)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
