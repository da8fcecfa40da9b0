"""Compares two circuits: their nodes, their numbers, and in what they were found and measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.views import CircuitView, Metrics, NodeTable, SearchResult

NodeName = tuple[str, str, int]
"""(hook, position, latent)"""
Subject = Mapping[str, Any]
"""What a session has open, as its `fingerprint` says it."""
NUMBERS: Final = ("faithfulness", "faithfulness_spliced", "completeness", "kl", "accuracy", "logit_diff")


@dataclass(frozen=True, slots=True)
class ComparedCircuit:
    """One side of a comparison. `numbers` are held-out metrics by their names in `Metrics`, None if not computed.

    `setup` says what the numbers depend on: model, task, prompts and choices, by name.
    """

    name: str
    nodes: frozenset[NodeName]
    numbers: Mapping[str, float | None]
    setup: Mapping[str, str]

    @classmethod
    def of_file(cls, file: CircuitFile, name: str) -> ComparedCircuit:
        """Returns the circuit of a file."""
        test = file.metrics.test
        setup = {
            "model": file.model.name,
            "weights": file.model.weights_sha256 or "",
            "dtype": file.model.dtype,
            "task": file.task.name,
            "prompts": file.task.prompts_sha256,
            "positions": file.task.positions_kind,
            "ablation": file.ablation.kind,
            "errors": file.ablation.errors,
            **{f"SAE at {site.hook}": site.sae.weights_sha256 or "" for site in file.sites},
            "sites": " ".join(site.hook for site in file.sites),
        }
        return cls(name, frozenset(file.nodes()), {each: getattr(test, each) for each in NUMBERS}, setup)

    @classmethod
    def of_search(cls, result: SearchResult, name: str, table: NodeTable, subject: Subject) -> ComparedCircuit:
        """Returns what a search of a session has found; `subject` is the session's `fingerprint`."""
        return cls(name, _names(result.nodes, table), _numbers(result.test), _setup(table, subject))

    @classmethod
    def of_view(cls, view: CircuitView, name: str, table: NodeTable, subject: Subject) -> ComparedCircuit:
        """Returns the current circuit of a session; `subject` is the session's `fingerprint`."""
        nodes = frozenset(node for node, kept in enumerate(view.kept) if kept)
        return cls(name, _names(nodes, table), _numbers(view.test), _setup(table, subject))


@dataclass(frozen=True, slots=True)
class CircuitComparison:
    """Two circuits beside each other. Nodes are sorted.

    `overlap` is |both| / |either| (Jaccard), 1 for two empty circuits; `latent_overlap` is the same over latents,
    whichever their positions. `differences` are the parts of `setup` that both have and that differ, as (name, first,
    second): where there are any, the numbers are of different things.
    """

    first: ComparedCircuit
    second: ComparedCircuit
    both: tuple[NodeName, ...]
    only_first: tuple[NodeName, ...]
    only_second: tuple[NodeName, ...]
    overlap: float
    latent_overlap: float
    differences: tuple[tuple[str, str, str], ...]

    @property
    def same_nodes(self) -> bool:
        """Whether both have the same nodes."""
        return not self.only_first and not self.only_second


def compare_circuits(first: ComparedCircuit, second: ComparedCircuit) -> CircuitComparison:
    """Returns the comparison of two circuits."""
    a, b = first.nodes, second.nodes
    shared = [name for name in first.setup if first.setup[name] and second.setup.get(name)]
    if "weights" in shared and first.setup["weights"] == second.setup["weights"] and "model" in shared:
        shared.remove("model")  # one model by two names, such as two folders
    return CircuitComparison(
        first,
        second,
        tuple(sorted(a & b)),
        tuple(sorted(a - b)),
        tuple(sorted(b - a)),
        jaccard(a, b),
        jaccard(*({(hook, latent) for hook, _, latent in nodes} for nodes in (a, b))),
        tuple(
            (name, first.setup[name], second.setup[name]) for name in shared if first.setup[name] != second.setup[name]
        ),
    )


def jaccard(first: Collection[Any], second: Collection[Any]) -> float:
    """Returns |A and B| / |A or B|; 1 for two empty circuits."""
    one, other = set(first), set(second)
    return len(one & other) / len(one | other) if one | other else 1.0


def _names(nodes: frozenset[int], table: NodeTable) -> frozenset[NodeName]:
    return frozenset(
        (table.sites[table.site[node]].hook, table.positions[table.position[node]], table.latent[node])
        for node in nodes
    )


def _numbers(metrics: Metrics) -> dict[str, float | None]:
    return {name: getattr(metrics, name) for name in NUMBERS}


def _setup(table: NodeTable, subject: Subject) -> dict[str, str]:
    ablation = subject.get("ablation", {})
    return {
        "model": str(subject.get("model", "")),
        "weights": str(subject.get("model_sha256", "")),
        "dtype": str(subject.get("dtype", "")),
        "task": str(subject.get("task", "")),
        "prompts": str(subject.get("prompts_sha256", "")),
        "positions": str(subject.get("positions_kind", "")),
        "ablation": str(ablation.get("kind", "")),
        "errors": str(ablation.get("errors", "")),
        **{f"SAE at {site['hook']}": str(site["weights_sha256"] or "") for site in subject.get("sites", ())},
        "sites": " ".join(site.hook for site in table.sites),
    }
