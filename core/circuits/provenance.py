"""Makes the circuit file of a session's current circuit."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from circuit_tui.core.circuits.circuit_file import (
    BUNDLED,
    AblationPart,
    CircuitFile,
    MethodPart,
    MetricsPart,
    MetricsParts,
    ModelPart,
    NodePart,
    SaePart,
    SitePart,
    StatsPart,
    TaskPart,
    Versions,
    now,
)
from circuit_tui.core.errors import UserError
from circuit_tui.core.views import Metrics, SearchResult

if TYPE_CHECKING:
    from circuit_tui.core.search.search import Search
    from circuit_tui.core.session.session import Session

ABLATION_SOURCES = {
    "mean": "corrupt train prompts",
    "clean-mean": "clean train prompts",
    "zero": "none",
    "resample": "corrupt train prompts",
}


@dataclass(frozen=True, slots=True)
class Found:
    """How the circuit was found: by hand unless a search or a file says otherwise.

    `nodes` is the circuit as it was found, `[node]` bool, to tell later edits from it.
    """

    method: str = "manual"
    settings: dict[str, float | int | str | bool] = field(default_factory=dict)
    seed: int = 0
    target: float | None = None
    reached: bool | None = None
    edited: bool = False
    warnings: tuple[str, ...] = ()
    nodes: Tensor | None = None

    @classmethod
    def by_search(cls, result: SearchResult, kept: Tensor) -> Found:
        """Found by a search."""
        return cls(
            result.method,
            dict(result.settings),
            result.seed,
            result.target,
            result.reached,
            False,
            result.warnings,
            kept,
        )

    @classmethod
    def on_frontier(cls, search: Search, kept: Tensor, faithfulness: float) -> Found:
        """Found on the way of a search: `faithfulness` is that of `kept` on the search prompts."""
        if search.result is not None and search.result.nodes == frozenset(kept.nonzero()[:, 0].tolist()):
            return cls.by_search(search.result, kept)
        spec = search.spec
        warning = (
            f"A point of the frontier of a search for {spec.target:.2f}, not the circuit it ended in: faithfulness "
            f"on the search prompts is {faithfulness:.3f}."
        )
        reached = search.reaches(faithfulness)
        return cls(spec.method, dict(spec.settings), spec.seed, spec.target, reached, False, (warning,), kept)

    @classmethod
    def by_file(cls, file: CircuitFile, kept: Tensor) -> Found:
        """Found as the file says."""
        part = file.method
        return cls(
            part.name, dict(part.settings), file.seed, part.target, part.reached, part.edited, part.warnings, kept
        )

    def edited_since(self, kept: Tensor) -> bool:
        """Whether the circuit is no longer the one that was found."""
        return self.edited or (self.nodes is not None and not torch.equal(self.nodes, kept))


def circuit_file(session: Session) -> CircuitFile:
    """The file of the session's current circuit; whatever is not computed yet is null."""
    problem, opened, found, view = session.problem, session.opened, session.found, session.view()
    train = view.train or session.train.evaluate(session.kept).result()
    model = problem.model
    return CircuitFile(
        created=now(),
        versions=package_versions(),
        seed=found.seed,
        method=MethodPart(
            name=found.method,
            settings=found.settings,
            target=found.target,
            reached=found.reached,
            edited=found.edited_since(session.kept),
            warnings=found.warnings,
        ),
        model=ModelPart(
            name=opened.model_name,
            revision=model.revision,
            dtype=session.info.dtype,
            weights_sha256=model.weights_sha256,
            processing=model.processing,
        ),
        task=TaskPart(
            name=problem.task.name,
            source=opened.source,
            prompts_sha256=problem.task.sha256,
            chat=opened.chat,
            positions_kind=problem.alignment.kind,
            positions=problem.alignment.names,
            n_train=session.info.train.n_prompts,
            n_test=session.info.test.n_prompts,
        ),
        sites=tuple(_site(session, index, view.effect) for index in range(len(problem.sites))),
        ablation=AblationPart(kind=problem.ablation, errors=problem.errors, source=ABLATION_SOURCES[problem.ablation]),
        size=view.size,
        metrics=MetricsParts(
            train=metrics_part(train),
            test=metrics_part(view.test),
            plain=metrics_part(session.info.test.plain),
            spliced=metrics_part(session.info.test.spliced),
            empty=metrics_part(session.info.test.empty),
        ),
        audit=session.audit_part(),
    )


def package_versions() -> Versions:
    """The versions of this program and of the libraries whose numbers it shows."""
    return Versions(
        circuit_tui=version("circuit-tui"),
        torch=version("torch"),
        transformer_lens=version("transformer-lens"),
        sae_lens=version("sae-lens"),
    )


def _site(session: Session, index: int, effect: tuple[float | None, ...]) -> SitePart:
    site, table = session.problem.sites[index], session.table
    sae = site.sae
    bundled = sae.release == BUNDLED
    return SitePart(
        hook=site.hook,
        sae=SaePart(
            release=sae.release or None,
            id=sae.id or None,
            path=None if bundled else sae.path,
            revision=sae.revision,
            weights_sha256=sae.weights_sha256,
            d_sae=sae.d_sae,
            architecture=sae.architecture,
        ),
        nodes=tuple(
            NodePart(
                position=table.positions[table.position[node]],
                latent=table.latent[node],
                label=table.label[node],
                stats=StatsPart(
                    mean_clean=table.mean_clean[node],
                    mean_corrupt=table.mean_corrupt[node],
                    max=table.max[node],
                    frequency=table.frequency[node],
                    effect=effect[node],
                ),
            )
            for node in session.problem.space.of_site(index)
            if session.kept[node]
        ),
    )


def metrics_part(metrics: Metrics) -> MetricsPart:
    """The numbers as a file holds them. Raises UserError where one is not finite."""
    values = asdict(metrics)
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(
                f"export: {name} has no value: the empty circuit does what the whole model does, so there is nothing "
                "to be faithful to; try other sites, another task or another ablation"
            )
    return MetricsPart(**values)
