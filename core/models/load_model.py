"""Loads a language model from a folder through TransformerBridge, with Hugging Face's own pass for comparison."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError, first_line
from circuit_tui.core.models.compat.no_processor import without_processor
from circuit_tui.core.models.compat.progress_bars import hide_progress_bars
from circuit_tui.core.models.damaged_weights import damaged_weights
from circuit_tui.core.models.hf_reference import CheckedLoader
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.weights_hash import weights_sha256
from circuit_tui.core.runtime.out_of_memory import WHAT_HELPS, is_out_of_memory

PROCESSING_STEPS = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")
"""Weight processing that the bridge can do and an SAE may have been trained with."""
_TOKENIZER_FILES = ("tokenizer*", "*.model", "vocab*", "merges.txt", "*.tiktoken")


def load_model(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    processing: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    budgets: Mapping[int, int] | None = None,
    tokenizer: Any = None,
    prompts: Sequence[Tensor] = (),
) -> LanguageModel:
    """Loads the model in `folder`, or in the folder `name` if that is None.

    `budgets` are the bytes that it may take on each CUDA device: accelerate then spreads its blocks over them, and over
    `device` alone if there are none. None puts it on `device`.

    `processing` is what an SAE's metadata calls `model_from_pretrained_kwargs` (such as ``center_writing_weights``);
    empty means raw weights. `tokenizer` is that of the model, loaded already or else from the folder. `prompts`, each
    `[position]`, are run by Hugging Face's own model (`LanguageModel.passes`).

    Raises:
        UserError: not a causal language model that the bridge knows, or damaged, or larger than `budgets`; a weight
            that is missing or not finite; activations that are not finite.
    """
    folder = Path(name).expanduser() if folder is None else folder
    tokenizer = load_tokenizer(name, folder) if tokenizer is None else tokenizer
    bridge, loader = _boot(name, folder, device, dtype, budgets, tokenizer, prompts)
    applied = _process_weights(bridge, processing or {})
    # In the Hub's cache a folder is named after its commit.
    revision = folder.name if folder.parent.name == "snapshots" else ""
    model = LanguageModel(bridge, name, revision, weights_sha256(folder), applied, tokenizer)
    model.folder, model.passes = folder, loader.passes
    model.n_embeddings, model.unused_weights = loader.n_embeddings, loader.unused_weights
    return model


def load_tokenizer(name: str, folder: Path) -> Any:
    """Returns the Hugging Face tokenizer in `folder`, as it was saved.

    Raises:
        UserError: there is none, or it is damaged.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:  # the loaders raise dozens of types; each means this tokenizer cannot be had
        if not any(next(folder.glob(pattern), None) for pattern in _TOKENIZER_FILES):
            raise UserError(f"--model {name}: the folder has no tokenizer (tokenizer.json)") from error
        why = first_line(error)
        raise UserError(f"--model {name}: cannot be loaded: {why} (while its tokenizer was read)") from error
    if len(tokenizer) < 2:
        raise UserError(f"--model {name}: the folder has no tokenizer (tokenizer.json)")
    return tokenizer


def _boot(
    name: str,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    budgets: Mapping[int, int] | None,
    tokenizer: Any,
    prompts: Sequence[Tensor],
) -> tuple[Any, CheckedLoader]:
    """Opens the TransformerBridge of the model in `folder`, and its loader; arguments and errors as `load_model`."""
    from transformer_lens.model_bridge import TransformerBridge  # slow, hence late

    hide_progress_bars()
    placement: dict[str, Any] = {"device": device}
    if budgets:
        placement = {"device_map": "auto", "max_memory": dict(budgets)}
    elif budgets is not None:
        placement = {"device_map": {"": str(device)}}
    try:
        with without_processor():
            loader = CheckedLoader(_model_class(folder), name, device if budgets is None else None, prompts)
            # The bridge changes the tokenizer that it is given: it invents a BOS, for one.
            bridge = TransformerBridge.boot_transformers(
                str(folder), dtype=dtype, tokenizer=copy.deepcopy(tokenizer), model_class=loader, **placement
            )
            return bridge, loader
    except UserError:
        raise
    except Exception as error:  # the loaders raise dozens of types; each means this model cannot be had
        if is_out_of_memory(error):
            raise
        if budgets:
            raise UserError(
                f"--device-map auto: {name} cannot be spread over {len(budgets)} devices: {first_line(error)}; "
                f"{WHAT_HELPS}"
            ) from error
        why = damaged_weights(folder) or first_line(error)
        raise UserError(f"--model {name}: cannot be loaded: {why}") from error


def _model_class(folder: Path) -> Any:
    """Returns the Hugging Face class that the bridge would load the model in `folder` with."""
    from transformer_lens.model_bridge.sources.transformers import (
        determine_architecture_from_hf_config,
        get_hf_model_class_for_architecture,
    )
    from transformers import AutoConfig

    return get_hf_model_class_for_architecture(
        determine_architecture_from_hf_config(AutoConfig.from_pretrained(str(folder)))
    )


def _process_weights(bridge: Any, processing: Mapping[str, Any]) -> str:
    """Applies the weight processing that was asked for and returns its name. Each step is off unless asked for."""
    wanted = {step: bool(processing.get(step, False)) for step in PROCESSING_STEPS}
    if not any(wanted.values()):
        return "none"
    bridge.enable_compatibility_mode(disable_warnings=True, **wanted)
    return "+".join(step for step in PROCESSING_STEPS if wanted[step])
