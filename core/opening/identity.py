"""What tells one experiment from another: model, SAEs, prompts, positions and ablation, by their hashes.

Runs are compared only where these agree, and what was cut off goes on only where nothing of it has changed.
"""

from __future__ import annotations

from typing import Any, Self

from circuit_tui.core.choices import PositionsKind
from circuit_tui.core.circuits.part import Part
from circuit_tui.core.circuits.schema import AblationPart, Count, Sha256, Sha256OrNone
from circuit_tui.core.evaluation.journal import digest
from circuit_tui.core.opening.experiment import Experiment


class IdentitySite(Part):
    """A hook with the SAE that is spliced in there."""

    hook: str
    sae: str
    weights_sha256: Sha256OrNone


class Identity(Part):
    """Model, SAEs, prompts, nodes and ablation of an experiment; the key ``subject`` of files.

    `candidates` counts the candidate nodes; `positions` names the positions that nodes refer to by number.
    """

    model: str
    model_sha256: Sha256OrNone
    dtype: str
    task: str
    prompts_sha256: Sha256
    positions_kind: PositionsKind
    positions: tuple[str, ...]
    sites: tuple[IdentitySite, ...]
    ablation: AblationPart
    candidates: Count
    n_train: Count
    n_test: Count

    @property
    def comparable(self) -> Self:
        """The identity without the names of weights whose hash is known: runs must share this to be compared.

        Runs of one model on two machines are then runs of the same, in whatever folders it lies there.
        """
        sites = tuple(site.model_copy(update={"sae": ""}) if site.weights_sha256 else site for site in self.sites)
        return self.model_copy(update={"model": "" if self.model_sha256 else self.model, "sites": sites})


def identity_of(experiment: Experiment) -> Identity:
    """Returns the identity of an experiment."""
    problem = experiment.problem
    return Identity(
        model=experiment.opened.model_name,
        model_sha256=problem.model.weights_sha256,
        dtype=str(problem.model.dtype).removeprefix("torch."),
        task=problem.task.name,
        prompts_sha256=problem.task.sha256,
        positions_kind=problem.alignment.kind,
        positions=problem.alignment.names,
        sites=tuple(
            IdentitySite(hook=site.hook, sae=site.sae.name, weights_sha256=site.sae.weights_sha256)
            for site in problem.sites
        ),
        ablation=AblationPart.of(problem.ablation, problem.errors),
        candidates=len(problem.space),
        n_train=len(experiment.train),
        n_test=len(experiment.test),
    )


def fingerprint(experiment: Experiment) -> dict[str, Any]:
    """Returns the identity and a digest of the candidate nodes, as JSON values.

    A stored session, or work that was cut off, can go on only where this is equal.
    """
    space = experiment.problem.space
    nodes = digest(space.site, space.position, space.latent)
    return {**identity_of(experiment).model_dump(mode="json"), "nodes_digest": nodes}
