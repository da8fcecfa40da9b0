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
    """The choices of one command line; every field has the default of a bare ``circuit-tui``.

    Attributes:
        model: a Hugging Face name or a folder; None for the bundled demo.
        revision: a branch, tag or commit of a Hub model; None for the newest.
        saes: ``RELEASE:ID`` names, or releases that `site_flags` narrow down.
        sae_dirs: sae-lens folders. If these and `saes` are empty, the SAEs are the demo's, or those that a known model
            has by default.
        sae_revisions: pins the commit of some of `saes`, by name.
        task: a built-in task.
        prompts: a JSON-lines file; not together with `task`.
        circuit: the circuit file to open.
        chat: makes each prompt a user's message.
        bos: puts the tokenizer's BOS in front of plain prompts, or leaves it out; None asks tokenizer and SAEs.
        positions: None picks ``each`` if the task allows it, else ``shared``.
        batch: the largest number of prompts in one forward pass; None for all that fit.
        sites: the hooks at which to splice, in full or short (``L1``); empty for every hook that has an SAE.
        padding: the side on which prompts are padded in a forward pass.
        device_map: ``auto`` spreads the model's blocks over all CUDA devices; `device` is then None.
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
        """Checks before anything is loaded that `device_map` is possible.

        Raises:
            UserError: it is unknown, `device` is given too, or accelerate, which places the blocks, is not installed.
        """
        if self.device_map is None:
            return
        if self.device_map not in DEVICE_MAPS:
            raise UserError(f"--device-map {self.device_map}: unknown; use {' or '.join(DEVICE_MAPS)}")
        if self.device is not None:
            raise UserError("--device and --device-map: give one of the two")
        if find_spec("accelerate") is None:
            raise UserError(f"--device-map {self.device_map}: needs accelerate; install it with pip install accelerate")
