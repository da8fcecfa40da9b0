"""Loads a language model from a folder through TransformerBridge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from circuit_tui.core.errors import UserError, first_line
from circuit_tui.core.models.compat.no_processor import without_processor
from circuit_tui.core.models.compat.progress_bars import hide_progress_bars
from circuit_tui.core.models.compat.saved_tokenizer import saved_tokenizer
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.weights_hash import weights_sha256
from circuit_tui.core.runtime.out_of_memory import WHAT_HELPS, is_out_of_memory

PROCESSING_STEPS = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")
"""Weight processing that the bridge can do and an SAE may have been trained with."""


def load_model(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    processing: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    budgets: Mapping[int, int] | None = None,
) -> LanguageModel:
    """Loads the model in `folder`, or in the folder `name` if that is None.

    `budgets` are the bytes that it may take on each CUDA device: accelerate then spreads its blocks over them, and over
    `device` alone if there are none. None puts it on `device`.

    `processing` is what an SAE's metadata calls `model_from_pretrained_kwargs` (such as ``center_writing_weights``);
    empty means raw weights.

    Raises:
        UserError: not a causal language model that the bridge knows, or damaged, or larger than `budgets`.
    """
    folder = Path(name).expanduser() if folder is None else folder
    bridge = _boot(name, folder, device, dtype, budgets)
    applied = _process_weights(bridge, processing or {})
    # In the Hub's cache a folder is named after its commit.
    revision = folder.name if folder.parent.name == "snapshots" else ""
    tokenizer = saved_tokenizer(bridge.tokenizer, str(folder))
    return LanguageModel(bridge, name, revision, weights_sha256(folder), applied, tokenizer)


def _boot(name: str, folder: Path, device: torch.device, dtype: torch.dtype, budgets: Mapping[int, int] | None) -> Any:
    """Opens the TransformerBridge of the model in `folder`; arguments and errors as in `load_model`."""
    from transformer_lens.model_bridge import TransformerBridge  # slow, hence late

    hide_progress_bars()
    placement: dict[str, Any] = {"device": device}
    if budgets:
        placement = {"device_map": "auto", "max_memory": dict(budgets)}
    elif budgets is not None:
        placement = {"device_map": {"": str(device)}}
    try:
        with without_processor():
            return TransformerBridge.boot_transformers(str(folder), dtype=dtype, **placement)
    except Exception as error:  # the loaders raise dozens of types; each means this model cannot be had
        if is_out_of_memory(error):
            raise
        if budgets:
            raise UserError(
                f"--device-map auto: {name} cannot be spread over {len(budgets)} devices: {first_line(error)}; "
                f"{WHAT_HELPS}"
            ) from error
        raise UserError(f"--model {name}: cannot be loaded: {first_line(error)}") from error


def _process_weights(bridge: Any, processing: Mapping[str, Any]) -> str:
    """Applies the weight processing that was asked for and returns its name. Each step is off unless asked for."""
    wanted = {step: bool(processing.get(step, False)) for step in PROCESSING_STEPS}
    if not any(wanted.values()):
        return "none"
    bridge.enable_compatibility_mode(disable_warnings=True, **wanted)
    return "+".join(step for step in PROCESSING_STEPS if wanted[step])
