"""The command that starts a stored search anew."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.spec import SearchSpec


def restart_command(request: OpenRequest, spec: SearchSpec, out: Path | None) -> str:
    """The ``circuit-tui find`` command that makes the search `spec` of what `request` opens, from the beginning."""
    if spec.ablations:
        request = replace(request, ablation=",".join((request.ablation, *spec.ablations)))  # type: ignore[arg-type]
    words = ["circuit-tui", "find", *opening_words(request), "--method", spec.method]
    if spec.objectives:
        words += ["--objective", ",".join(each.kind for each in spec.objectives)]
        words += ["--target", ",".join(f"{each.kind}={each.target:g}" for each in spec.objectives)]
    else:
        words += ["--target", f"{spec.target:g}"]
    words += ["--slack", f"{spec.slack:g}"] if spec.slack else []
    words += [*(["--templates"] if spec.templates else []), "--seed", str(spec.seed)]
    for name, value in spec.settings.items():
        words += ["--set", f"{name}={value}"]
    return shlex.join([*words, *(["--out", str(out)] if out is not None else [])])


def opening_words(request: OpenRequest) -> list[str]:
    """The flags of `Opening` that ask for `request`, without those at their default."""
    default, words = OpenRequest(), list[str]()
    for flag, value, without_flag in _flags(request, default):
        if value != without_flag and value is not None:
            words += [flag] if value is True else [flag, str(value)]
    return words


def _flags(request: OpenRequest, default: OpenRequest) -> Iterator[tuple[str, object, object]]:
    """Each flag with its value in `request` and the value that it has if it is not given."""
    yield "--model", request.model, default.model
    for name in request.saes:
        yield "--sae", name, None
    for flag in ("layers", "every", "width", "l0"):
        yield f"--{flag}", getattr(request.site_flags, flag), getattr(default.site_flags, flag)
    for folder in request.sae_dirs:
        yield "--sae-dir", folder, None
    yield "--sites", ",".join(request.sites) or None, None
    for flag in ("task", "prompts", "circuit", "chat", "positions", "ablation", "errors", "device"):
        yield f"--{flag}", getattr(request, flag), getattr(default, flag)
    yield "--bos" if request.bos else "--no-bos", None if request.bos is None else True, None
    yield "--device-map", request.device_map, default.device_map
    for flag in ("dtype", "batch", "padding"):
        yield f"--{flag}", getattr(request, flag), getattr(default, flag)
