"""Opens a language model by Hugging Face name or folder, and says which weights it got."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from circuit_tui.core.choices import DTYPES
from circuit_tui.core.errors import UserError
from circuit_tui.core.hub.download import blob_hash
from circuit_tui.core.models.compat.text_only import without_processor
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.model_files import fetch_model
from circuit_tui.core.models.presets import preset_of
from circuit_tui.core.runtime.out_of_memory import WHAT_HELPS, is_out_of_memory
from circuit_tui.core.views import LoadProgress


def pick_device(name: str | None) -> torch.device:
    """The device of `--device`, or CUDA where there is one, else the CPU.

    Raises:
        UserError: no such device on this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name}: not a device; use cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: no CUDA on this machine; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices, counted from 0")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"--device {name}: no MPS on this machine; use --device cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"--device {name}: not supported; use cpu, cuda, cuda:N or mps")
    return device


def pick_dtype(name: str | None) -> torch.dtype:
    """The dtype of `--dtype`; float32 when not given.

    Raises:
        UserError: not one of `choices.DTYPES`.
    """
    if name is None:
        return torch.float32
    if name not in DTYPES:
        raise UserError(f"--dtype {name}: unknown; use one of {', '.join(DTYPES)}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def model_folder(
    name: str,
    revision: str | None,
    report: Callable[[LoadProgress], None],
    stage: LoadProgress,
    *,
    weights: bool = True,
) -> tuple[str, Path]:
    """The name and the folder of what ``--model`` names: a folder, or a Hub model, which is fetched into the cache.

    A short name of a model that everybody knows becomes its full name on the Hub. Without `weights` only configuration
    and tokenizer are fetched.

    Raises:
        UserError: no such folder or Hub model, or it cannot be fetched.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"--model {name}: the folder has no config.json")
        return name, folder
    if name.startswith((".", "/", "~")) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise UserError(f"--model {name}: no such folder")
    full = hub_name(name)
    return full, fetch_model(full, revision or "main", f"--model {name}", report, stage, weights=weights)


def hub_name(name: str) -> str:
    """The full name on the Hub of a model by any of its names."""
    known = preset_of(name)
    if known is not None:
        return known.hub_name
    if "/" in name:
        return name
    from transformer_lens.supported_models import MODEL_ALIASES

    return next((str(official) for official, aliases in MODEL_ALIASES.items() if name in aliases), name)


def load_model(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    processing: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    budgets: Mapping[int, int] | None = None,
) -> LanguageModel:
    """Loads the model in `folder`, or in the folder `name` if that is None, through TransformerBridge.

    `budgets` are the bytes that it may take on each CUDA device: accelerate then spreads its blocks over them, and over
    `device` alone if there are none. None puts it on `device`.

    `processing` is what an SAE's metadata calls `model_from_pretrained_kwargs` (such as ``center_writing_weights``);
    empty means raw weights.

    Raises:
        UserError: not a causal language model that the bridge knows, or damaged, or larger than `budgets`.
    """
    folder = Path(name).expanduser() if folder is None else folder
    source = str(folder)
    from transformer_lens.model_bridge import TransformerBridge  # slow, hence late
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # progress is the caller's to show
    where: dict[str, Any] = {"device": device}
    if budgets is not None:
        where = {"device_map": "auto", "max_memory": dict(budgets)} if budgets else {"device_map": {"": str(device)}}
    try:
        with without_processor():
            bridge = TransformerBridge.boot_transformers(source, dtype=dtype, **where)
    except Exception as error:  # the loaders raise dozens of types; each means this model cannot be had
        if is_out_of_memory(error):
            raise
        if budgets:
            raise UserError(
                f"--device-map auto: {name} cannot be spread over {len(budgets)} devices: {first_line(error)}; "
                f"{WHAT_HELPS}"
            ) from error
        raise UserError(f"--model {name}: cannot be loaded: {first_line(error)}") from error
    applied = _process(bridge, processing or {})
    # In the Hub's cache a folder is named after its commit.
    revision = folder.name if folder.parent.name == "snapshots" else ""
    tokenizer = _own_tokenizer(bridge.tokenizer, source)
    return LanguageModel(bridge, name, revision, weights_sha256(folder), applied, tokenizer)


def _own_tokenizer(tokenizer: Any, source: str) -> Any:
    """The model's tokenizer as it was saved.

    The bridge gives a tokenizer without BOS its EOS, or an invented token, for BOS: no prompt of such a model has one.
    """
    if tokenizer is None or tokenizer.bos_token_id != tokenizer.eos_token_id:
        return tokenizer
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(source)


def _process(bridge: Any, processing: Mapping[str, Any]) -> str:
    """Applies the asked-for weight processing and names it. Each step is off unless asked for."""
    steps = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")
    wanted = {step: bool(processing.get(step, False)) for step in steps}
    if not any(wanted.values()):
        return "none"
    bridge.enable_compatibility_mode(disable_warnings=True, **wanted)
    return "+".join(step for step in steps if wanted[step])


def weights_sha256(folder: Path) -> str:
    """SHA-256 over the weight files of a folder, by name; empty when there are none.

    A Hub cache stores large files under their SHA-256, which is then used as it stands rather than read again.
    """
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin")) or sorted(folder.glob("*.npz"))
    digests = [file_sha256(path) for path in files]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""


def file_sha256(path: Path) -> str:
    """SHA-256 of one file."""
    named = blob_hash(path)
    if len(named) == 64:  # the others are git's
        return named
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: Exception) -> str:
    """The first line of what an exception says, or its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
