"""Opens the circuits of files: the request that a circuit file stands for, and its nodes in an open problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from circuit_tui.core.circuits.audit_schema import AuditPart
from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.circuits.edges_schema import EdgesPart
from circuit_tui.core.circuits.mask_file import is_mask_file, masked_nodes, read_masks
from circuit_tui.core.circuits.provenance import Provenance
from circuit_tui.core.circuits.schema import BUNDLED, CircuitFile
from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.annotations import Annotations
from circuit_tui.core.opening.bundled import bundled_sae
from circuit_tui.core.opening.file_annotations import annotations_of_file
from circuit_tui.core.opening.open_problem import OpenedProblem, nodes_of
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.tokens import tokens_sha256


@dataclass(frozen=True, slots=True)
class OpenedCircuit:
    """The circuit of a file: `kept` `[node]` bool, provenance, snapshots, and audit and edges if it has them.

    `snapshots` are circuits `[node]` bool by name, `annotations` what the user said of latents and nodes.
    """

    kept: Tensor
    provenance: Provenance
    audit: AuditPart | None = None
    snapshots: Mapping[str, Tensor] = field(default_factory=dict)
    edges: EdgesPart | None = None
    annotations: Annotations = field(default_factory=Annotations)


def open_circuit(path: Path, opened: OpenedProblem) -> OpenedCircuit:
    """Returns the circuit of a circuit file, or of a published mask file, in an open problem.

    Raises:
        UserError: the file is damaged, was made in another experiment, or has nodes that are no candidates here.
    """
    problem = opened.problem
    if is_mask_file(path):
        hooks = [(site.hook, site.sae.d_sae) for site in problem.sites]
        space = list(zip(problem.space.site.tolist(), problem.space.latent.tolist(), strict=True))
        nodes, notes = masked_nodes(read_masks(path), hooks, space, path)
        kept = _circuit_of(nodes, problem)
        return OpenedCircuit(kept, Provenance(method="imported", warnings=notes, nodes=kept))
    file = read_circuit(path)
    check_same_experiment(opened, file, path)
    kept = _circuit_of(_node_numbers(file.nodes(), problem, path), problem)
    snapshots = {
        name: _circuit_of(_node_numbers(nodes, problem, path), problem) for name, nodes in file.snapshot_nodes().items()
    }
    annotations = annotations_of_file(file, problem, lambda nodes: _node_numbers(nodes, problem, path))
    return OpenedCircuit(kept, Provenance.of_file(file, kept), file.audit, snapshots, file.edges, annotations)


def request_of(file: CircuitFile, base: OpenRequest, folder: Path) -> OpenRequest:
    """Returns the request that opens the experiment of `file`; values in the file take precedence over those of `base`.

    Relative paths in the file start from the working directory or, if there is nothing there, from `folder`, the file's
    own folder.
    """
    bundled = file.model.name == BUNDLED
    sae_paths = [
        (site, bundled_sae(site.hook) if site.sae.release == BUNDLED else _locate(site.sae.path, folder))
        for site in file.sites
    ]
    released = [site.sae for site in file.sites if site.sae.release not in (None, BUNDLED)]
    folders = tuple(path for site, path in sae_paths if site.sae.release in (None, BUNDLED) and path is not None)
    source = file.task.source
    return replace(
        base,
        model=None if bundled else str(_locate(file.model.name, folder)),
        revision=file.model.revision or None,
        saes=tuple(f"{sae.release}:{sae.id}" for sae in released),
        sae_revisions=tuple((f"{sae.release}:{sae.id}", sae.revision) for sae in released if sae.revision),
        sae_dirs=folders,
        task=source.name if source.kind == "builtin" else None,
        prompts=_locate(source.path, folder) if source.kind == "file" else None,
        chat=file.task.chat,
        bos=file.task.bos,
        positions=file.task.positions_kind,
        ablation=file.ablation.kind,
        errors=file.ablation.errors,
        dtype=file.model.dtype,
        seed=file.seed,
    )


def check_same_experiment(opened: OpenedProblem, file: CircuitFile, path: Path) -> None:
    """Checks that a circuit was made with the model, the SAEs and the prompts that are open.

    Raises:
        UserError: a hash, hook or position name differs; the message names the field.
    """
    problem = opened.problem
    _check_field(path, "task.prompts_sha256", file.task.prompts_sha256, problem.task.sha256)
    _check_field(path, "model.weights_sha256", file.model.weights_sha256, problem.model.weights_sha256)
    _check_field(path, "model.processing", file.model.processing, problem.model.processing)
    _check_field(path, "sites", [site.hook for site in file.sites], [site.hook for site in problem.sites])
    for theirs, ours in zip(file.sites, problem.sites, strict=True):
        _check_field(path, f"sites {ours.hook} sae.weights_sha256", theirs.sae.weights_sha256, ours.sae.weights_sha256)
    _check_field(path, "task.chat", file.task.chat, opened.chat)
    _check_field(path, "task.bos", file.task.bos, opened.bos)
    if file.task.tokens_sha256:
        _check_field(path, "task.tokens_sha256", file.task.tokens_sha256, tokens_sha256(problem.prompt_sets))
    _check_field(path, "task.positions_kind", file.task.positions_kind, problem.alignment.kind)
    _check_field(path, "task.positions", list(file.task.positions), list(problem.alignment.names))
    _check_field(path, "ablation.kind", file.ablation.kind, problem.ablation)
    _check_field(path, "ablation.errors", file.ablation.errors, problem.errors)


def _circuit_of(nodes: Sequence[int], problem: Problem) -> Tensor:
    kept = torch.zeros(len(problem.space), dtype=torch.bool)
    kept[torch.tensor(nodes, dtype=torch.long)] = True
    return kept


def _node_numbers(nodes: Sequence[tuple[str, str, int]], problem: Problem, path: Path) -> list[int]:
    """Returns the node numbers of these (hook, position name, latent), which the file at `path` has.

    Raises:
        UserError: the problem has no such hook, position or latent, or a node is no candidate.
    """
    number_of = {node: number for number, node in enumerate(problem.space.coordinates())}
    wanted = nodes_of(nodes, problem.sites, problem.alignment.names)
    for site, position, latent in wanted:
        if (site, position, latent) not in number_of:
            name = f"{problem.sites[site].short} {latent}@{problem.alignment.names[position]}"
            raise UserError(f"{path}: {name} never fires on this task; open the file with --circuit")
    return [number_of[node] for node in wanted]


def _locate(name: str | None, folder: Path) -> Path | None:
    """Returns the path `name`, from the working directory or, if there is nothing there, from `folder`."""
    if name is None:
        return None
    path = Path(name).expanduser()
    in_folder = folder / path
    return path if path.exists() or not in_folder.exists() else in_folder


def _check_field(path: Path, field: str, theirs: object, ours: object) -> None:
    if theirs != ours:
        raise UserError(f"{path}: {field} is {theirs!r}, but what was opened has {ours!r}: not the same")
