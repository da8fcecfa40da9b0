"""Feeds sae-lens' loaders from our downloads.

``SAE.from_pretrained`` has no parameter for a revision or for progress, and one of its loaders,
``get_safetensors_tensor_shapes``, reads shapes through requests of its own, which needs a network even where the file
is on the disk. Seen in sae-lens 6.54.12; no upstream issue is known to us.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from circuit_tui.core.hub.download import HubClient


@contextlib.contextmanager
def loaders_fetch_through(hub: HubClient, revision: str) -> Iterator[None]:
    """Within it sae-lens' loaders take their files from `hub` at `revision`. For one thread at a time."""
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
