"""The files of a released SAE, and sae-lens' loaders fed from our downloads.

Each conversion in sae-lens knows its own layout. The table names the files that hold the weights; it is used to say
what is on the disk and to fetch all SAEs with one count of bytes. What else a loader asks for is fetched when it asks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from circuit_tui.core.errors import UserError
from circuit_tui.core.hub.download import HubClient, cached_file
from circuit_tui.core.saes.registry import RegisteredSae

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
    """Paths in the repository of the files with the weights; empty for a layout that the table does not have."""
    return tuple(pattern.format(path=sae.path) for pattern in _FILES.get(sae.loader, ()))


def bytes_on_disk(sae: RegisteredSae) -> int | None:
    """Bytes of its weight files in the cache; None unless all are there."""
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


@contextlib.contextmanager
def loaders_use(hub: HubClient, revision: str) -> Iterator[None]:
    """Within it sae-lens' loaders take their files from `hub` at `revision`.

    Its loaders have no parameter for that, and one of them reads shapes through requests of its own, which needs a
    network even where the file is on the disk. Used by one thread at a time.
    """
    from sae_lens.loading import pretrained_sae_loaders as loaders
    from safetensors import safe_open

    def download(repo_id: str, filename: str, subfolder: str | None = None, **_: Any) -> str:
        path = f"{subfolder}/{filename}" if subfolder else filename
        return str(hub.get(repo_id, path, revision))

    def shapes(repo_id: str, filename: str) -> dict[str, list[int]]:
        with safe_open(Path(hub.get(repo_id, filename, revision)), framework="pt") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 no mapping

    # A version of sae-lens that names them otherwise fetches by itself, which works too, only without our progress.
    ours = {"hf_hub_download": download, "get_safetensors_tensor_shapes": shapes}
    before = {name: getattr(loaders, name) for name in ours if hasattr(loaders, name)}
    try:
        for name in before:
            setattr(loaders, name, ours[name])
        yield
    finally:
        for name, function in before.items():
            setattr(loaders, name, function)
