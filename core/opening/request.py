"""What a user asks to open: model, SAEs, task and the choices that define a node and its ablation."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from circuit_tui.core.choices import DEVICE_MAPS, AblationKind, ErrorsKind, PaddingKind, PositionsKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.saes.sae_filter import ALL_SITES, SiteFlags


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """One command line's worth of choices; every field has the default of a bare ``circuit-tui``.

    `model` is a Hugging Face name or a folder, None for the bundled demo; `revision` a branch, tag or commit of a
    Hub model, None for the newest. `saes` are ``RELEASE:ID`` names, or releases that `site_flags` narrow down;
    `sae_dirs` are sae-lens folders. Both empty means the SAEs of the demo, or those that a known model has by
    default. `sae_revisions` pins the commit of some of `saes`, by name. `task` names a built-in task, `prompts` is
    a JSON- lines file; not both; with `chat` each prompt is a user's message. `bos` puts the tokenizer's BOS in
    front of plain prompts or leaves it out; None asks tokenizer and SAEs. `positions` None picks ``each`` where the
    task allows it and ``shared`` otherwise. `batch` is the largest number of prompts in one forward pass, None for
    all that fit. `padding` is the side of the prompts on which they are padded in a forward pass. `sites` names the
    hooks to splice at, in full or short (``L1``); empty means every hook that has an SAE. `device_map` ``auto``
    spreads the model's blocks over all CUDA devices; `device` is then None.
    """

    model: str | None = None
    revision: str | None = None
    saes: tuple[str, ...] = ()
    site_flags: SiteFlags = ALL_SITES
    sae_revisions: tuple[tuple[str, str], ...] = ()
    sae_dirs: tuple[Path, ...] = ()
    task: str | None = None
    prompts: Path | None = None
    circuit: Path | None = None
    chat: bool = False
    bos: bool | None = None
    positions: PositionsKind | None = None
    ablation: AblationKind = "mean"
    errors: ErrorsKind = "drop"
    device: str | None = None
    dtype: str | None = None
    batch: int | None = None
    seed: int = 0
    sites: tuple[str, ...] = ()
    padding: PaddingKind = "right"
    device_map: str | None = None

    def check_devices(self) -> None:
        """Refuses a device map that cannot be had, before anything is loaded.

        Raises:
            UserError: an unknown one, or one beside `device`, or accelerate, which places the blocks, is not installed.
        """
        if self.device_map is None:
            return
        if self.device_map not in DEVICE_MAPS:
            raise UserError(f"--device-map {self.device_map}: unknown; use {' or '.join(DEVICE_MAPS)}")
        if self.device is not None:
            raise UserError("--device and --device-map: give one of the two")
        if find_spec("accelerate") is None:
            raise UserError(f"--device-map {self.device_map}: needs accelerate; install it with pip install accelerate")
