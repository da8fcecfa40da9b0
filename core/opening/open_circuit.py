"""Any file that holds a circuit, to the nodes of an open problem; and any form to write one in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from circuit_tui.core.circuits.audit_schema import AuditPart
from circuit_tui.core.circuits.circuit_file import read_circuit, write_circuit
from circuit_tui.core.circuits.mask_file import ENDING, is_mask_file, masked_nodes, read_masks, write_masks
from circuit_tui.core.circuits.provenance import Found
from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.opening.open_problem import OpenedProblem, candidates_of, check_same


def circuit_in(path: Path, opened: OpenedProblem) -> tuple[list[int], Callable[[Tensor], Found], AuditPart | None]:
    """The nodes of the circuit in `path`, from that circuit `[node]` bool to where it came from, and its audit.

    Raises:
        UserError: the file is damaged, was made with something else, or has nodes that are no candidates here.
    """
    problem = opened.problem
    if is_mask_file(path):
        hooks = [(site.hook, site.sae.d_sae) for site in problem.sites]
        space = list(zip(problem.space.site.tolist(), problem.space.latent.tolist(), strict=True))
        nodes, notes = masked_nodes(read_masks(path), hooks, space, path)
        return nodes, lambda kept: Found(method="imported", warnings=notes, nodes=kept), None
    file = read_circuit(path)
    check_same(opened, file, path)
    return list(candidates_of(file, problem, path)), lambda kept: Found.by_file(file, kept), file.audit


def write_export(file: CircuitFile, path: Path) -> Path:
    """Writes `file`: as published masks to a name that ends in ``.masks.json``, otherwise as it is. Where it lies.

    Raises:
        UserError: it cannot be written there.
    """
    return write_masks(file, path) if path.name.endswith(ENDING) else write_circuit(file, path)
