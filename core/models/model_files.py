"""The folder that a model is loaded from: on this disk, or in the cache, fetched from the Hub."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from circuit_tui.core.errors import UserError
from circuit_tui.core.hub.download import HubClient, cached_file, is_commit, listed_file
from circuit_tui.core.hub.explain_error import explain_error, transport_error
from circuit_tui.core.models.packaged_model import packaged_model, packaged_on_disk
from circuit_tui.core.models.presets import package_of, preset_of
from circuit_tui.core.views import LoadProgress

# Configuration and tokenizer: the files of the top folder, besides weights, that a model is loaded from.
_SMALL = re.compile(r"[^/]+\.(json|txt|model|jinja)")
_WEIGHTS = (re.compile(r"model(-\d+-of-\d+)?\.safetensors"), re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin"))
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def model_folder(
    name: str,
    revision: str | None,
    report: Callable[[LoadProgress], None],
    stage: LoadProgress,
    *,
    weights: bool = True,
) -> tuple[str, Path]:
    """Returns name and folder of what ``--model`` names: a folder, or a model that is fetched into the cache.

    A short name becomes the model's full name on the Hub, unless a package has its weights. Without `weights` only
    configuration and tokenizer of a Hub model are fetched; a package comes whole.

    Raises:
        UserError: no such folder or Hub model, or it cannot be fetched.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        _check_folder(name, folder)
        return name, folder
    if name.startswith((".", "/", "~")) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise UserError(f"--model {name}: no such folder")
    package = package_of(name)
    if package is not None:
        short = name.lower()
        return short, packaged_model(short, package, report, stage)
    full = hub_name(name)
    return full, fetch_model(full, revision or "main", f"--model {name}", report, stage, weights=weights)


def _check_folder(name: str, folder: Path) -> None:
    """Raises UserError if the folder of a model has no configuration, or an adapter, which no loader would apply."""
    if (folder / "adapter_config.json").is_file():
        raise UserError(
            f"--model {name}: the folder has an adapter (adapter_config.json), which would not be applied; merge it "
            "into its model (peft's merge_and_unload) and save that"
        )
    if not (folder / "config.json").is_file():
        raise UserError(f"--model {name}: the folder has no config.json")


def hub_name(name: str) -> str:
    """The full name on the Hub of a model by any of its names."""
    preset = preset_of(name)
    if preset is not None:
        return preset.hub_name
    if "/" in name:
        return name
    from transformer_lens.supported_models import MODEL_ALIASES

    return next((str(official) for official, aliases in MODEL_ALIASES.items() if name in aliases), name)


def fetch_model(
    name: str,
    revision: str,
    flag: str,
    report: Callable[[LoadProgress], None],
    stage: LoadProgress,
    *,
    weights: bool = True,
) -> Path:
    """Fetches the model `name` at `revision` (a branch, tag or commit) and returns its folder in the cache.

    Weights are taken as safetensors where the repository has them. Without `weights` only configuration and tokenizer
    are fetched. Without a network the cache has to do.

    Raises:
        UserError: no such model, no access, no network and nothing cached, no room, or no weights in it.
    """
    from huggingface_hub import HfApi, errors

    kept = _cached_model(name, revision)
    if kept is not None and is_commit(revision):
        return kept
    hub = HubClient(flag, report, stage)
    try:
        info = HfApi().model_info(name, revision=hub.commit(name, revision), files_metadata=True)
    except (OSError, transport_error(), ValueError) as error:
        described = cached_file(name, "config.json", revision)
        if kept is None and described is not None and not weights:
            kept = described.parent
        if kept is None or isinstance(error, errors.RepositoryNotFoundError | errors.RevisionNotFoundError):
            raise explain_error(error, flag, name) from error
        return kept
    chosen = _needed(info.siblings or ())
    if not any(pattern.fullmatch(entry.rfilename) for entry in chosen for pattern in _WEIGHTS):
        raise UserError(f"{flag}: {name} has no weights that can be loaded (model*.safetensors or pytorch_model*.bin)")
    chosen = [entry for entry in chosen if weights or _SMALL.fullmatch(entry.rfilename)]
    paths = hub.fetch([listed_file(name, str(info.sha), entry) for entry in chosen])
    return paths[0].parent


def model_on_disk(name: str) -> bool:
    """Whether the cache has every file of the model that ``--model`` names."""
    package = package_of(name)
    if package is not None:
        return packaged_on_disk(name.lower(), package)
    preset = preset_of(name)
    return _cached_model(name if preset is None else preset.hub_name, "main") is not None


def _needed(entries: Sequence[Any]) -> list[Any]:
    for pattern in _WEIGHTS:
        weights = [entry for entry in entries if pattern.fullmatch(entry.rfilename)]
        if weights:
            break
    # The largest last: a problem with the repository shows before the long wait.
    return [entry for entry in entries if _SMALL.fullmatch(entry.rfilename)] + weights


def _cached_model(name: str, revision: str) -> Path | None:
    config = cached_file(name, "config.json", revision)
    if config is None:
        return None
    folder = config.parent
    for index in _INDEXES:
        if (folder / index).is_file():
            parts = set(json.loads((folder / index).read_text())["weight_map"].values())
            return folder if all((folder / part).is_file() for part in parts) else None
    whole = (folder / "model.safetensors", folder / "pytorch_model.bin")
    return folder if any(path.is_file() for path in whole) else None
