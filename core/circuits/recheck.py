"""Compares a circuit file with the same circuit computed anew, field by field."""

from __future__ import annotations

from collections.abc import Iterator

from circuit_tui.core.circuits.field_check import TOLERANCE, FieldCheck, check_close, check_equal
from circuit_tui.core.circuits.schema import CircuitFile, MetricsPart, NodePart, SitePart, StatsPart


def recheck_circuit(file: CircuitFile, fresh: CircuitFile, tolerance: float = TOLERANCE) -> tuple[FieldCheck, ...]:
    """Returns a check of every field that can be recomputed, in the order of the file.

    `fresh` holds the nodes, the snapshots and the groups of `file`, evaluated anew.
    """
    return tuple(_checks(file, fresh, tolerance))


def _checks(file: CircuitFile, fresh: CircuitFile, tolerance: float) -> Iterator[FieldCheck]:
    for part, keys in (
        ("model", ("weights_sha256", "processing", "dtype")),
        ("task", ("prompts_sha256", "positions_kind", "n_train", "n_test")),
        ("ablation", ("kind", "errors", "source")),
    ):
        for key in keys:
            yield check_equal(f"{part}.{key}", getattr(getattr(file, part), key), getattr(getattr(fresh, part), key))
    if file.task.tokens_sha256:
        yield check_equal("task.tokens_sha256", file.task.tokens_sha256, fresh.task.tokens_sha256)
    yield check_equal("task.positions", " ".join(file.task.positions), " ".join(fresh.task.positions))
    yield check_equal("sites", " ".join(site.hook for site in file.sites), " ".join(site.hook for site in fresh.sites))
    yield check_equal("size", file.size, len(file.nodes()))
    for key in ("train", "test", "plain", "spliced", "empty"):
        claimed, now = getattr(file.metrics, key), getattr(fresh.metrics, key)
        for name in MetricsPart.model_fields:
            yield from check_close(f"metrics.{key}.{name}", getattr(claimed, name), getattr(now, name), tolerance)
    yield from _objective_checks(file, fresh, tolerance)
    fresh_sites = {site.hook: site for site in fresh.sites}
    for index, site in enumerate(file.sites):
        if site.hook in fresh_sites:
            yield from _site_checks(f"sites[{index}]", site, fresh_sites[site.hook], tolerance)
    yield from _snapshot_checks(file, fresh, tolerance)
    fresh_effects = {group.name: group.effect for group in fresh.groups}
    for index, group in enumerate(file.groups):
        yield from check_close(f"groups[{index}].effect", group.effect, fresh_effects.get(group.name), tolerance)


def _objective_checks(file: CircuitFile, fresh: CircuitFile, tolerance: float) -> Iterator[FieldCheck]:
    """Yields a check of every value of the objectives; one that was not computed anew has none."""
    now = {
        (each.kind, value.ablation, value.template): value for each in fresh.objectives for value in each.values
    }  # fmt: skip
    for index, objective in enumerate(file.objectives):
        for number, value in enumerate(objective.values):
            path, found = (
                f"objectives[{index}].values[{number}]",
                now.get((objective.kind, value.ablation, value.template)),
            )
            yield from check_close(f"{path}.train", value.train, None if found is None else found.train, tolerance)
            yield from check_close(f"{path}.test", value.test, None if found is None else found.test, tolerance)


def _snapshot_checks(file: CircuitFile, fresh: CircuitFile, tolerance: float) -> Iterator[FieldCheck]:
    """Yields a check of every metric of the snapshots; a snapshot without metrics claims nothing."""
    fresh_metrics = {snapshot.name: snapshot.metrics for snapshot in fresh.snapshots}
    for index, snapshot in enumerate(file.snapshots):
        claimed, now = snapshot.metrics, fresh_metrics.get(snapshot.name)
        if claimed is None:
            continue
        path = f"snapshots[{index}].metrics"
        if now is None:
            yield FieldCheck(path, snapshot.name, None, False)
            continue
        for name in MetricsPart.model_fields:
            yield from check_close(f"{path}.{name}", getattr(claimed, name), getattr(now, name), tolerance)


def _site_checks(path: str, site: SitePart, fresh: SitePart, tolerance: float) -> Iterator[FieldCheck]:
    for key in ("weights_sha256", "d_sae", "architecture"):
        yield check_equal(f"{path}.sae.{key}", getattr(site.sae, key), getattr(fresh.sae, key))
    fresh_nodes: dict[tuple[str, int], NodePart] = {(node.position, node.latent): node for node in fresh.nodes}
    for index, node in enumerate(site.nodes):
        node_path = f"{path}.nodes[{index}]"
        now = fresh_nodes.get((node.position, node.latent))
        if now is None:
            yield FieldCheck(node_path, f"{node.latent}@{node.position}", None, False)
            continue
        for name in StatsPart.model_fields:
            claimed, value = getattr(node.stats, name), getattr(now.stats, name)
            yield from check_close(f"{node_path}.stats.{name}", claimed, value, tolerance)
