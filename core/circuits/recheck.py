"""Compares a circuit file with the same circuit computed anew: which fields still hold, and which do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from circuit_tui.core.circuits.schema import CircuitFile, MetricsPart, NodePart, SitePart, StatsPart

Value = str | int | float | None
TOLERANCE = 1e-3
"""The default of how far a number may be off: absolute up to 1, relative to the recomputed number beyond."""


@dataclass(frozen=True, slots=True)
class Row:
    """One field, by its JSON path without the ``$``: what the file says, what it is now, and whether that agrees."""

    field: str
    file: Value
    now: Value
    ok: bool


def compare(file: CircuitFile, fresh: CircuitFile, tolerance: float = TOLERANCE) -> tuple[Row, ...]:
    """Every field that can be recomputed, in the order of the file.

    `fresh` holds the nodes of `file`, evaluated anew. A number that the file leaves null was never claimed and agrees.
    """
    return tuple(_rows(file, fresh, tolerance))


def _rows(file: CircuitFile, fresh: CircuitFile, tolerance: float) -> Iterator[Row]:
    for part, keys in (
        ("model", ("weights_sha256", "processing", "dtype")),
        ("task", ("prompts_sha256", "positions_kind", "n_train", "n_test")),
        ("ablation", ("kind", "errors", "source")),
    ):
        for key in keys:
            yield same_row(f"{part}.{key}", getattr(getattr(file, part), key), getattr(getattr(fresh, part), key))
    yield same_row("task.positions", " ".join(file.task.positions), " ".join(fresh.task.positions))
    yield same_row("sites", " ".join(site.hook for site in file.sites), " ".join(site.hook for site in fresh.sites))
    yield same_row("size", file.size, len(file.nodes()))
    for key in ("train", "test", "plain", "spliced", "empty"):
        claimed, now = getattr(file.metrics, key), getattr(fresh.metrics, key)
        for name in MetricsPart.model_fields:
            yield from close_rows(f"metrics.{key}.{name}", getattr(claimed, name), getattr(now, name), tolerance)
    found = {site.hook: site for site in fresh.sites}
    for index, site in enumerate(file.sites):
        if site.hook in found:
            yield from _site_rows(f"sites[{index}]", site, found[site.hook], tolerance)


def _site_rows(path: str, site: SitePart, fresh: SitePart, tolerance: float) -> Iterator[Row]:
    for key in ("weights_sha256", "d_sae", "architecture"):
        yield same_row(f"{path}.sae.{key}", getattr(site.sae, key), getattr(fresh.sae, key))
    now: dict[tuple[str, int], NodePart] = {(node.position, node.latent): node for node in fresh.nodes}
    for index, node in enumerate(site.nodes):
        where = f"{path}.nodes[{index}]"
        again = now.get((node.position, node.latent))
        if again is None:
            yield Row(where, f"{node.latent}@{node.position}", None, False)
            continue
        for name in StatsPart.model_fields:
            claimed, value = getattr(node.stats, name), getattr(again.stats, name)
            yield from close_rows(f"{where}.stats.{name}", claimed, value, tolerance)


def same_row(field: str, file: Value, now: Value) -> Row:
    """A field that must be what it was."""
    return Row(field, file, now, file == now)


def close_rows(
    field: str, file: float | tuple[float, ...] | None, now: float | tuple[float, ...] | None, tolerance: float
) -> Iterator[Row]:
    """A number, or a pair of them, that must be within `tolerance` of what it was."""
    if isinstance(file, tuple) and isinstance(now, tuple):
        for index, (one, other) in enumerate(zip(file, now, strict=True)):
            yield from close_rows(f"{field}[{index}]", one, other, tolerance)
        return
    if isinstance(file, tuple) or isinstance(now, tuple):
        raise TypeError(f"{field}: a pair on one side alone")
    agrees = file is None or (now is not None and abs(file - now) <= tolerance * max(1.0, abs(now)))
    yield Row(field, file, now, agrees)
