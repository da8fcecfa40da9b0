"""A report of this machine: its packages, its devices, and whether the bundled model is complete."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from circuit_tui.core import demo
from circuit_tui.core.runtime.machine import cores

PACKAGES = (
    "circuit-tui", "torch", "transformer-lens", "sae-lens", "transformers", "gguf", "textual", "typer", "safetensors",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Device:
    """A device that torch can use, as ``--device`` names it; memory is in bytes, None if torch does not report it."""

    name: str
    description: str
    memory_total: int | None
    memory_free: int | None


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine. `packages` maps names to versions, None if absent; `missing` lists absent files of the demo."""

    python: str
    system: str
    cores: int
    packages: dict[str, str | None]
    devices: tuple[Device, ...]
    demo_folder: str
    missing: tuple[str, ...]


def this_machine() -> Machine:
    """Returns the report of this machine. It imports torch, which takes a second."""
    return Machine(
        python=platform.python_version(),
        system=platform.platform(),
        cores=cores(),
        packages={name: _version(name) for name in PACKAGES},
        devices=_devices(),
        demo_folder=str(demo.model_dir().parent),
        missing=tuple(str(path) for path in _demo_files() if not path.is_file()),
    )


def _devices() -> tuple[Device, ...]:
    import torch

    found = [Device("cpu", f"{torch.get_num_threads()} threads", None, None)]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            found.append(Device(f"cuda:{index}", torch.cuda.get_device_name(index), total, free))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple GPU", None, None))
    return tuple(found)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _demo_files() -> list[Path]:
    model = [demo.model_dir() / name for name in ("config.json", "model.safetensors", "tokenizer.json")]
    return model + [folder / name for folder in demo.sae_dirs() for name in ("cfg.json", "sae_weights.safetensors")]
