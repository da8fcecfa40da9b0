"""Makes the circuit file of a circuit from its experiment and the numbers computed so far."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from circuit_tui.core.circuits.audit_schema import AuditPart
from circuit_tui.core.circuits.circuit_file import now
from circuit_tui.core.circuits.edges_schema import EdgesPart
from circuit_tui.core.circuits.provenance import Provenance
from circuit_tui.core.circuits.schema import (
    BUNDLED,
    CircuitFile,
    HeldAblationsPart,
    MetricsPart,
    MetricsParts,
    ModelPart,
    NodePart,
    SaePart,
    SitePart,
    SnapshotPart,
    StatsPart,
    TaskPart,
    Versions,
)
from circuit_tui.core.latents.annotations import Annotations
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.session.annotation_parts import group_parts, noted_parts, said_of
from circuit_tui.core.session.objective_parts import objective_parts
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.chat_date import CHAT_DATE
from circuit_tui.core.tasks.tokens import tokens_sha256
from circuit_tui.core.views import CircuitView, NodeTable


def circuit_file(
    experiment: Experiment,
    table: NodeTable,
    view: CircuitView,
    provenance: Provenance,
    audit: AuditPart | None = None,
    snapshots: tuple[SnapshotPart, ...] = (),
    edges: EdgesPart | None = None,
    annotations: Annotations | None = None,
    group_effects: Mapping[tuple[int, ...], float] | None = None,
) -> CircuitFile:
    """Returns the file of the circuit in `view`, with its nodes from `table`; numbers not computed yet are null.

    Raises:
        UserError: a metric is not finite.
    """
    problem, opened, test = experiment.problem, experiment.opened, experiment.test.baselines
    kept, said = torch.tensor(list(view.kept), dtype=torch.bool), annotations or Annotations()
    train = view.train or experiment.train.evaluate(kept).result()
    return CircuitFile(
        created=now(),
        versions=Versions.installed(),
        seed=provenance.seed,
        method=provenance.part(kept),
        model=ModelPart(
            name=opened.model_name,
            revision=problem.model.revision,
            dtype=str(problem.model.dtype).removeprefix("torch."),
            weights_sha256=problem.model.weights_sha256,
            processing=problem.model.processing,
        ),
        task=TaskPart(
            name=problem.task.name,
            source=opened.source,
            prompts_sha256=problem.task.sha256,
            chat=opened.chat,
            chat_date=CHAT_DATE if opened.chat else None,
            bos=opened.bos,
            tokens_sha256=tokens_sha256(problem.prompt_sets),
            positions_kind=problem.alignment.kind,
            positions=problem.alignment.names,
            n_train=len(experiment.train),
            n_test=len(experiment.test),
        ),
        sites=tuple(_site_part(problem, index, table, view, said) for index in range(len(problem.sites))),
        ablation=HeldAblationsPart.of(problem.ablation, problem.errors).with_others(
            provenance.ablations, provenance.slack
        ),
        size=view.size,
        metrics=MetricsParts(
            train=MetricsPart.of(train),
            test=MetricsPart.of(view.test),
            plain=MetricsPart.of(test.summarise(test.plain)),
            spliced=MetricsPart.of(test.summarise(test.spliced)),
            empty=MetricsPart.of(test.summarise(test.empty)),
        ),
        objectives=objective_parts(experiment, kept, provenance),
        audit=audit,
        snapshots=snapshots,
        edges=edges,
        groups=group_parts(said, table, group_effects or {}),
        noted=noted_parts(said, table, view.kept),
    )


def _site_part(problem: Problem, index: int, table: NodeTable, view: CircuitView, said: Annotations) -> SitePart:
    site = problem.sites[index]
    sae = site.sae
    return SitePart(
        hook=site.hook,
        sae=SaePart(
            release=sae.release or None,
            id=sae.id or None,
            path=None if sae.release == BUNDLED else sae.path,
            revision=sae.revision,
            weights_sha256=sae.weights_sha256,
            d_sae=sae.d_sae,
            architecture=sae.architecture,
        ),
        nodes=tuple(_node_part(table, view, said, node) for node in problem.space.of_site(index) if view.kept[node]),
    )


def _node_part(table: NodeTable, view: CircuitView, said: Annotations, node: int) -> NodePart:
    return NodePart(
        position=table.positions[table.position[node]],
        latent=table.latent[node],
        label=table.label[node],
        stats=StatsPart(
            mean_clean=table.mean_clean[node],
            mean_corrupt=table.mean_corrupt[node],
            max=table.max[node],
            frequency=table.frequency[node],
            effect=view.effect[node],
        ),
        **said_of(said, table, node),
    )
