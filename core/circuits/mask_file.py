"""Reads and writes published mask files: ``{"blocks.7.hook_resid_post": [latent, …], …}`` beside a few numbers.

The code of Caples et al. 2025 writes this form, and others share it. A number in a list is a latent of the hook's SAE.
The form has no positions, even if the mask had them: a latent stands for itself at every position. The other keys are

    total_density   the number of latents listed
    avg_density     the same, averaged over hooks
    ce_loss, logit_diff, faithfulness   of the circuit on held-out prompts; faithfulness against the spliced model

The file names no model, SAEs, task or ablation: whoever opens it says what to open.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from circuit_tui.core.atomic_file import read_text, write_text
from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.errors import UserError
from circuit_tui.core.runtime.user_log import user_log

ENDING = ".masks.json"
"""A file whose name ends so is written in this form."""
_HOOK = re.compile(r"blocks\.\d+\.[\w.]+")
_LOST = "positions, labels, statistics, model, SAEs, task, audit and snapshots"
_NUMBERS = ("total_density", "avg_density", "ce_loss", "logit_diff", "faithfulness")


def is_mask_file(path: Path) -> bool:
    """Returns whether a file is a published mask file: a JSON object without a schema, with a list at some hook.

    Returns False for a file that cannot be read; the next reader says why.
    """
    try:
        data = json.loads(path.expanduser().read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return False
    return (
        isinstance(data, dict)
        and "schema" not in data
        and any(_HOOK.fullmatch(key) and isinstance(value, list) for key, value in data.items())
    )


def read_masks(path: Path) -> dict[str, tuple[int, ...]]:
    """Returns the latents of each hook, ascending.

    Raises:
        UserError: the file cannot be read, or a hook's value is no list of latents; the message names the key.
    """
    data: dict[str, Any] = json.loads(read_text(path, "published masks"))
    found = {}
    for key, value in data.items():
        if not _HOOK.fullmatch(key):
            if key not in _NUMBERS:
                raise UserError(f"{path}: {key!r} is no hook (blocks.N.…), nor one of {', '.join(_NUMBERS)}")
            continue
        if not isinstance(value, list) or not all(type(latent) is int and latent >= 0 for latent in value):
            raise UserError(f"{path}: {key}: should be a list of latents, whole numbers from 0 on")
        if len(set(value)) < len(value):
            double = next(latent for latent in value if value.count(latent) > 1)
            raise UserError(f"{path}: {key}: latent {double} is listed twice")
        found[key] = tuple(sorted(value))
    return found


def masks(file: CircuitFile) -> dict[str, Any]:
    """Returns `file` in the published form."""
    latents = {site.hook: sorted({node.latent for node in site.nodes}) for site in file.sites}
    total, test = sum(map(len, latents.values())), file.metrics.test
    return {
        **latents,
        "total_density": total,
        "avg_density": total / len(latents),
        "ce_loss": test.cross_entropy,
        "logit_diff": test.logit_diff,
        "faithfulness": test.faithfulness_spliced,
    }


def write_masks(file: CircuitFile, path: Path) -> Path:
    """Writes `file` in the published form, whole or not at all; returns the absolute path. Tells the user what is lost.

    Raises:
        UserError: it cannot be written there (`write_text`).
    """
    written = write_text(json.dumps(masks(file), indent=1, allow_nan=False) + "\n", path)
    user_log.warning("%s: published masks hold the latents of each hook; %s are not in it.", path, _LOST)
    return written


def masked_nodes(
    latents: dict[str, tuple[int, ...]], hooks: Sequence[tuple[str, int]], space: Sequence[tuple[int, int]], path: Path
) -> tuple[list[int], tuple[str, ...]]:
    """Returns the nodes of the listed latents at every position, and notes on them for the user.

    `hooks` has the (hook, d_sae) of each site, `space` the (site, latent) of each candidate, by node number.

    Raises:
        UserError: no SAE is spliced in at a hook of the file, or a latent is out of its SAE's range.
    """
    sites = {hook: (index, d_sae) for index, (hook, d_sae) in enumerate(hooks)}
    wanted: set[tuple[int, int]] = set()
    for hook, listed in latents.items():
        if hook not in sites:
            raise UserError(
                f"{path}: it has latents at {hook}, but SAEs are spliced in at {', '.join(sites)} alone; "
                "the file names neither model nor SAEs: give them with --model, --sae and --task"
            )
        site, d_sae = sites[hook]
        if listed and listed[-1] >= d_sae:
            raise UserError(f"{path}: {hook}: latent {listed[-1]} is out of range, the SAE has {d_sae} latents")
        wanted |= {(site, latent) for latent in listed}
    nodes = [node for node, key in enumerate(space) if key in wanted]
    silent = len(wanted - {space[node] for node in nodes})
    notes = [f"{path.name} names latents, not positions: each is kept at every position where it fires."]
    if silent:
        notes.append(f"{silent} of the {len(wanted)} latents of {path.name} never fire on this task and are left out.")
    return nodes, tuple(notes)
