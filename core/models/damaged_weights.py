"""Which file of weights is not what its name says: loaders tell what is wrong with a file, but not which one it is."""

from __future__ import annotations

import pickle
from pathlib import Path

_LFS_POINTER = b"version https://git-lfs"


def damaged_weights(folder: Path) -> str:
    """Returns the fault of the first file of weights in `folder` that cannot be read; empty if all can be."""
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]):
        fault = _fault(path)
        if fault:
            return f"{path.name} {fault}"
    return ""


def _fault(path: Path) -> str:
    import torch  # slow, as the next is
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                return "is a pointer of Git LFS, not the weights themselves; fetch them with git lfs pull"
        if path.suffix == ".safetensors":
            with safe_open(path, "pt"):
                return ""
        torch.load(path, map_location="meta", weights_only=True)
    except pickle.UnpicklingError:
        return "is no pickle of weights alone, and is not read because it could run code; save it as safetensors"
    except (OSError, SafetensorError, RuntimeError, EOFError) as error:
        return f"is damaged or was cut off: {error}"
    return ""
