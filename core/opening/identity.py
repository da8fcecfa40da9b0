"""The identity of an experiment: model, SAEs, prompts, positions and ablation, by their hashes.

Runs are compared only if their identities agree, and work that was cut off goes on only if its identity is unchanged.

Importing this imports no torch: a sweep that gives work to others, and a comparison of finished runs, need none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from circuit_tui.core.choices import PositionsKind
from circuit_tui.core.circuits.part import Part
from circuit_tui.core.circuits.schema import BUNDLED, AblationPart, Count, Sha256, Sha256OrNone

if TYPE_CHECKING:
    from circuit_tui.core.opening.experiment import Experiment
    from circuit_tui.core.saes.site import Site

_TOKENS = "tokens_sha256"


class IdentitySite(Part):
    """A hook, with the SAE that is spliced in there.

    `sae` is ``RELEASE:ID`` or a folder. A bundled SAE is ``circuit-tui/demo:HOOK``; version 0.1 wrote its folder.
    """

    hook: str
    sae: str
    weights_sha256: Sha256OrNone

    @classmethod
    def of(cls, site: Site) -> Self:
        """Returns what identifies a site."""
        sae = site.sae
        name = f"{BUNDLED}:{sae.id}" if sae.release == BUNDLED else sae.name
        return cls(hook=site.hook, sae=name, weights_sha256=sae.weights_sha256)


class Identity(Part):
    """Model, SAEs, prompts, nodes and ablation of an experiment; the key ``subject`` of files.

    `candidates` counts the candidate nodes; `positions` names the positions that nodes refer to by number.
    `tokens_sha256` is over the token ids of prompts and answers (`tokens_sha256`), which tokenizer, BOS and chat
    template decide; empty where an earlier version wrote the file.
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
    tokens_sha256: Sha256OrNone = ""

    @property
    def comparable(self) -> Self:
        """The identity without the names of weights whose hash is known; runs with equal ones can be compared.

        So runs of one model on two machines can be compared, whatever the folders of the model are called.
        """
        sites = tuple(site.model_copy(update={"sae": ""}) if site.weights_sha256 else site for site in self.sites)
        return self.model_copy(update={"model": "" if self.model_sha256 else self.model, "sites": sites})

    @property
    def without_tokens(self) -> Self:
        """The identity without the hash of token ids, which earlier versions did not write."""
        return self.model_copy(update={"tokens_sha256": ""})

    def difference(self, other: Identity) -> str:
        """Returns what two experiments of the same names have that differs; empty if their runs can be compared."""
        fields = differing(self.model_dump(), other.model_dump())
        if fields == [_TOKENS]:
            return "token ids (tokenizer or chat template)"
        return "weights or SAEs" if fields else ""


def identity_of(experiment: Experiment) -> Identity:
    """Returns the identity of an experiment."""
    from circuit_tui.core.tasks.tokens import tokens_sha256

    problem = experiment.problem
    return Identity(
        model=experiment.opened.model_name,
        model_sha256=problem.model.weights_sha256,
        dtype=str(problem.model.dtype).removeprefix("torch."),
        task=problem.task.name,
        prompts_sha256=problem.task.sha256,
        positions_kind=problem.alignment.kind,
        positions=problem.alignment.names,
        sites=tuple(map(IdentitySite.of, problem.sites)),
        ablation=AblationPart.of(problem.ablation, problem.errors),
        candidates=len(problem.space),
        n_train=len(experiment.train),
        n_test=len(experiment.test),
        tokens_sha256=tokens_sha256(problem.prompt_sets),
    )


def fingerprint(experiment: Experiment) -> dict[str, Any]:
    """Returns the identity and a digest of the candidate nodes, as JSON values.

    A stored session, or work that was cut off, can go on only if `comparable` of this is equal.
    """
    from circuit_tui.core.evaluation.journal import digest

    space = experiment.problem.space
    nodes = digest(space.site, space.position, space.latent)
    return {**identity_of(experiment).model_dump(mode="json"), "nodes_digest": nodes}


def fingerprint_0_1(experiment: Experiment) -> dict[str, Any]:
    """Returns the fingerprint as version 0.1 wrote it: no token ids, and the name of a bundled SAE is its folder."""
    found = fingerprint(experiment)
    del found[_TOKENS]
    for site, written in zip(experiment.problem.sites, found["sites"], strict=True):
        written["sae"] = site.sae.name
    return found


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns the fields in which two fingerprints differ, but for names of weights whose hash is known.

    Token ids count if both fingerprints have their hash; version 0.1 wrote none.
    """
    one, other = comparable(before), comparable(now)
    if not (one.get(_TOKENS) and other.get(_TOKENS)):
        one, other = ({name: value for name, value in each.items() if name != _TOKENS} for each in (one, other))
    return [name for name in other | one if one.get(name) != other.get(name)]


def comparable(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a fingerprint without the names of weights whose hash is known, as `Identity.comparable`.

    Fields that are absent, because another version wrote the fingerprint, stay absent.
    """
    found = dict(fingerprint)
    if found.get("model_sha256"):
        found["model"] = ""
    if "sites" in found:
        found["sites"] = [{**site, "sae": ""} if site.get("weights_sha256") else site for site in found["sites"]]
    return found
