"""The files of a model on the Hub: which are needed, fetched into one folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from circuit_tui.core.errors import UserError
from circuit_tui.core.hub.download import HubClient, cached_file, is_commit, listed_file
from circuit_tui.core.hub.explain_error import explain_error, transport_error
from circuit_tui.core.views import LoadProgress

# Files of the top folder that a model is loaded from, beside its weights.
_SMALL = re.compile(r"[^/]+\.(json|txt|model|jinja)")
_WEIGHTS = (re.compile(r"model(-\d+-of-\d+)?\.safetensors"), re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin"))
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def fetch_model(
    name: str,
    revision: str,
    flag: str,
    report: Callable[[LoadProgress], None],
    stage: LoadProgress,
    *,
    weights: bool = True,
) -> Path:
    """The folder in the cache with the model `name` at `revision` (a branch, tag or commit), fetched if need be.

    Weights are taken as safetensors where the repository has them, and left out without `weights`: what is left are
    configuration and tokenizer. Without a network the cache has to do.

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
    """Whether the cache has the model `name` whole."""
    return _cached_model(name, "main") is not None


def _needed(entries: Sequence[Any]) -> list[Any]:
    for pattern in _WEIGHTS:
        weights = [entry for entry in entries if pattern.fullmatch(entry.rfilename)]
        if weights:
            break
    # The largest last: what is wrong with a repository shows before the long wait.
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
