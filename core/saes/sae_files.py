"""The files of a released SAE: where they are in its repository, and whether the cache has them.

Each loader of sae-lens has a layout of its own. The table has the files with the weights, so that all SAEs are fetched
with one count of bytes; whatever else a loader asks for is fetched when it asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from circuit_tui.core.errors import UserError
from circuit_tui.core.hub.download import HubClient, cached_file
from circuit_tui.core.saes.registry import SHIPPED, RegisteredSae

_FILES: dict[str, tuple[str, ...]] = {
    "sae_lens": ("{path}/cfg.json", "{path}/sae_weights.safetensors"),
    "gemma_2": ("{path}/params.npz",),
    "gemma_2_transcoder": ("{path}/params.npz",),
    "gemma_3": ("{path}/params.safetensors",),
    "llama_scope": ("{path}/hyperparams.json", "{path}/checkpoints/final.safetensors"),
    "llama_scope_r1_distill": ("{path}/config.json", "{path}/sae_weights.safetensors"),
    "dictionary_learning_1": ("{path}/config.json", "{path}/ae.pt"),
    "connor_rob_hook_z": ("{path}",),
    "goodfire": ("{path}",),
    "deepseek_r1": ("{path}",),
    "qwen_scope": ("{path}",),
    "mwhanna_transcoder": ("{path}",),
    "mntss_clt_layer_transcoder": ("W_enc_{path}.safetensors", "W_dec_{path}.safetensors"),
}


def weight_files(sae: RegisteredSae) -> tuple[str, ...]:
    """Paths in the repository of the files with the weights; empty for a layout that is not in the table."""
    return tuple(pattern.format(path=sae.path) for pattern in _FILES.get(sae.loader, ()))


def bytes_on_disk(sae: RegisteredSae) -> int | None:
    """Bytes of the weight files of `sae` in the cache; None unless all are there."""
    if sae.loader == SHIPPED:
        return (Path(sae.path) / "sae_weights.safetensors").stat().st_size
    found = [cached_file(sae.repo, path) for path in weight_files(sae)]
    if not found:
        return None
    return sum(path.stat().st_size for path in found if path is not None) if None not in found else None


def fetch_saes(hub: HubClient, saes: Sequence[RegisteredSae], revisions: Sequence[str]) -> list[str]:
    """Fetches the weights of all `saes`, each at its revision, and returns the commit of each (empty: not known).

    Raises:
        UserError: see `HubClient`.
    """
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    from circuit_tui.core.hub.explain_error import explain_error

    commits, files = [], []
    for sae, revision in zip(saes, revisions, strict=True):
        try:
            found = [hub.locate(sae.repo, path, revision) for path in weight_files(sae)]
        except LocalEntryNotFoundError as error:
            raise UserError(str(error)) from error  # already explained
        except EntryNotFoundError as error:
            raise explain_error(error, f"--sae {sae.name}", sae.repo) from error
        files += found
        commits.append(found[0].commit if found else "")
    hub.fetch(files)
    return commits
