"""Chooses SAEs of a release: from ``--sae RELEASE --layers 7,14 --width 16k --l0 60`` to names ``RELEASE:ID``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from circuit_tui.core.errors import UserError
from circuit_tui.core.models.presets import preset_of
from circuit_tui.core.saes.registry import RegisteredSae, releases, saes_of
from circuit_tui.core.saes.sae_filter import SiteFlags, parse_l0, parse_layers, parse_width


def choose_saes(names: Sequence[str], flags: SiteFlags, model: str | None) -> tuple[str, ...]:
    """Returns ``RELEASE:ID`` of every SAE that `names` and `flags` ask for.

    A name without an id is a whole release, narrowed by `flags`. Without names a model with a preset gets the release
    of the preset; layers, width and L0 of the preset hold where `flags` do not say otherwise.

    Raises:
        UserError: an unknown release, flags that no SAE matches, or flags without a release to narrow.
    """
    flags.check()
    preset = preset_of(model)
    whole = [name for name in names if ":" not in name]
    if not names and preset is not None:
        whole = [preset.release]
    if flags.given and not whole:
        raise UserError(f"{flags.given}: needs --sae RELEASE without an id, to choose from its SAEs")
    chosen = [name for name in names if ":" in name]
    for release in whole:
        if preset is not None and release == preset.release:
            own = SiteFlags(
                layers=flags.layers or (None if flags.every else ",".join(map(str, preset.layers))),
                every=flags.every,
                width=flags.width or preset.width,
                l0=flags.l0 or preset.l0,
            )
            chosen += _choose_from_release(release, own)
        else:
            chosen += _choose_from_release(release, flags)
    return tuple(chosen)


def suggest_release(release: str) -> str:
    """The end of an error message about an unknown release: the names that are close to it."""
    close = difflib.get_close_matches(release, releases(), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else "; `circuit-tui saes` lists them"


def _choose_from_release(release: str, flags: SiteFlags) -> list[str]:
    if release not in releases():
        raise UserError(f"--sae {release}: unknown release{suggest_release(release)}")
    every = saes_of(release)
    by_layer: dict[int, list[RegisteredSae]] = {}
    for sae in every:
        if sae.layer is not None:
            by_layer.setdefault(sae.layer, []).append(sae)
    layers = sorted(by_layer)
    if flags.layers is None and flags.every is None:
        if len(every) == 1:
            return [every[0].name]
        raise UserError(
            f"--sae {release}: which of its {len(every)} SAEs? Choose with --layers or --every "
            f"(it has layers {layer_text(layers)}), or name one as {every[0].name}"
        )
    wanted = layers[:: flags.every] if flags.layers is None else parse_layers(flags.layers)
    missing = [layer for layer in wanted if layer not in by_layer]
    if missing:
        raise UserError(
            f"--layers {flags.layers}: {release} has no SAE at layer {missing[0]}; it has layers {layer_text(layers)}"
        )
    return [_choose_at_layer(release, layer, by_layer[layer], flags).name for layer in wanted]


def _choose_at_layer(release: str, layer: int, saes: list[RegisteredSae], flags: SiteFlags) -> RegisteredSae:
    """The SAE of one layer: of the width asked for or the smallest; among those, of the L0 asked for or the median."""
    left = saes
    if flags.width is not None:
        wanted = parse_width(flags.width)
        left = [sae for sae in saes if sae.width == wanted]
        if not left:
            widths = sorted({sae.width for sae in saes if sae.width is not None})
            known = ", ".join(f"{width:,}" for width in widths) or "unknown widths only"
            raise UserError(f"--width {flags.width}: {release} has no such SAE at layer {layer}; it has {known}")
    elif any(sae.width is not None for sae in left):
        narrowest = min(sae.width for sae in left if sae.width is not None)
        left = [sae for sae in left if sae.width == narrowest]
    if flags.l0 is not None:
        number = parse_l0(flags.l0)
        if number is None:
            named = [sae for sae in left if flags.l0 in re.split(r"[^a-z]+", sae.id)]
            if not named:
                raise UserError(f"--l0 {flags.l0}: no id of {release} at layer {layer} has that word")
            left = named
        else:
            known_l0 = [sae for sae in left if sae.l0 is not None]
            if not known_l0:
                raise UserError(f"--l0 {flags.l0}: the registry knows no L0 of {release}")
            best = min(abs((sae.l0 or 0.0) - number) for sae in known_l0)
            left = [sae for sae in known_l0 if abs((sae.l0 or 0.0) - number) == best]
    # All that are left match: take the median L0, and of equal ones the shortest name (no second seed).
    left.sort(key=lambda sae: (sae.l0 or 0.0, len(sae.id)))
    middle = left[(len(left) - 1) // 2].l0
    return next(sae for sae in left if sae.l0 == middle)


def layer_text(layers: Sequence[int]) -> str:
    """Layers in order as ``0-25`` or ``5, 9, 12``."""
    spans: list[list[int]] = []
    for layer in layers:
        if spans and layer == spans[-1][1] + 1:
            spans[-1][1] = layer
        else:
            spans.append([layer, layer])
    texts = [f"{start}" if start == stop else f"{start}-{stop}" for start, stop in spans]
    return ", ".join(texts) or "that its names do not tell"
