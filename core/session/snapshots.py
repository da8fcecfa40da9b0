"""The named snapshots of a session: circuits, and the metrics of those that have been evaluated."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from circuit_tui.core.circuits.schema import MetricsPart, SnapshotNode, SnapshotPart
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.runtime.incremental import Incremental
from circuit_tui.core.views import Metrics, NodeTable, SnapshotComparison


class Snapshots:
    """Circuits, `[node]` bool, by name in the order of their making, with metrics on the prompts of `test`."""

    def __init__(self, test: Evaluator) -> None:
        self._test = test
        self._circuits: dict[str, Tensor] = {}
        self._metrics: dict[str, Metrics] = {}
        self._under_way: tuple[str, Incremental[Metrics]] | None = None

    @property
    def circuits(self) -> dict[str, Tensor]:
        """Every circuit by its name."""
        return dict(self._circuits)

    @property
    def done(self) -> bool:
        """Whether the metrics of every snapshot are computed."""
        return len(self._metrics) == len(self._circuits)

    def save(self, name: str, kept: Tensor, metrics: Metrics | None = None) -> None:
        """Stores `kept` `[node]` bool, in place of an old snapshot of that name; `metrics` are its own, if known."""
        self._forget_metrics(name)
        self._circuits[name] = kept
        if metrics is not None:
            self._metrics[name] = metrics

    def circuit(self, name: str) -> Tensor:
        """Returns the circuit of that name. Raises UserError if there is none."""
        if name not in self._circuits:
            raise UserError(f"snapshot {name!r}: there is none of that name")
        return self._circuits[name]

    def compare(self, name: str, kept: Tensor, metrics: Metrics) -> SnapshotComparison:
        """Returns the circuit `kept` `[node]` bool, which has `metrics`, beside the snapshot of that name.

        Raises:
            UserError: there is no snapshot of that name.
        """
        theirs = self.circuit(name)
        return SnapshotComparison(
            name=name,
            only_current=tuple((kept & ~theirs).nonzero()[:, 0].tolist()),
            only_snapshot=tuple((theirs & ~kept).nonzero()[:, 0].tolist()),
            both=int((kept & theirs).sum()),
            current=metrics,
            snapshot=self._test.evaluate(theirs).result(),
        )

    def replace_all(self, circuits: Mapping[str, Tensor]) -> None:
        """Replaces all snapshots by `circuits`, whose metrics are not known."""
        self._circuits, self._metrics, self._under_way = dict(circuits), {}, None

    def add(self, circuits: Mapping[str, Tensor], origin: str) -> None:
        """Adds `circuits`. If another circuit has a name already, the new one is called ``NAME (ORIGIN)``."""
        for name, kept in circuits.items():
            free, number = name, 1
            while free in self._circuits and not torch.equal(self._circuits[free], kept):
                free, number = f"{name} ({origin}{'' if number == 1 else f' {number}'})", number + 1
            if free not in self._circuits:
                self._circuits[free] = kept

    def advance(self) -> None:
        """Runs one increment of the metrics that are left."""
        if self._under_way is None:
            name = next((name for name in self._circuits if name not in self._metrics), None)
            if name is None:
                return
            self._under_way = name, self._test.evaluate(self._circuits[name])
        name, evaluation = self._under_way
        try:
            next(evaluation)
        except StopIteration as end:
            self._metrics[name], self._under_way = end.value, None

    def complete(self) -> None:
        """Computes the metrics of every snapshot."""
        while not self.done:
            self.advance()

    def parts(self, table: NodeTable) -> tuple[SnapshotPart, ...]:
        """Returns the snapshots for a circuit file; metrics that are not computed are null.

        Raises:
            UserError: a metric is not finite.
        """
        return tuple(
            SnapshotPart(
                name=name,
                nodes=tuple(_node(table, node) for node in kept.nonzero()[:, 0].tolist()),
                metrics=MetricsPart.of(self._metrics[name]) if name in self._metrics else None,
            )
            for name, kept in self._circuits.items()
        )

    def _forget_metrics(self, name: str) -> None:
        self._metrics.pop(name, None)
        if self._under_way is not None and self._under_way[0] == name:
            self._under_way = None


def _node(table: NodeTable, node: int) -> SnapshotNode:
    return SnapshotNode(
        hook=table.sites[table.site[node]].hook,
        position=table.positions[table.position[node]],
        latent=table.latent[node],
    )
