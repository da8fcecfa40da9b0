"""Opens an audit of a circuit of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from circuit_tui.core.audit.audit_log import AuditLog
from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.lines import LINES, searches_left
from circuit_tui.core.audit.parallel_searches import ParallelSearches
from circuit_tui.core.audit.run import Audit
from circuit_tui.core.audit.search_processes import fitting_jobs, start_searches
from circuit_tui.core.audit.search_worker import SearchEnvironment
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.audit.texts import read_text, text_sha256
from circuit_tui.core.circuits.provenance import Provenance
from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.opening.identity import fingerprint
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.registry import DEFAULT_METHOD, DEFAULT_TARGET
from circuit_tui.core.search.spec import SearchSpec


@dataclass(frozen=True, slots=True)
class OtherProcesses:
    """How other processes open the same experiment, and how many of them may make searches for the audit.

    Attributes:
        request: what to open.
        file: the circuit file that names it.
        jobs: at most so many at once; None for as many as the machine allows (`fitting_jobs`).
        log: takes what libraries print there.
    """

    request: OpenRequest
    file: CircuitFile
    jobs: int | None
    log: Path | None


def open_audit(
    experiment: Experiment,
    kept: Tensor,
    provenance: Provenance,
    settings: AuditSettings,
    others: OtherProcesses | None = None,
) -> Audit:
    """Returns an audit of the circuit `kept` `[node]` bool, which has not begun.

    Its searches are made as the one that found the circuit, or with quick settings if the audit is quick. It keeps what
    it measures, and goes on with what the same audit had measured before it was cut off. With `others` searches are
    made in processes of their own, if there are two at least and room for them.

    Raises:
        UserError: the circuit is empty, the text cannot be read, or the method that found the circuit is unknown here.
    """
    target = provenance.target
    used = SearchSpec(DEFAULT_METHOD, DEFAULT_TARGET, settings.seed)
    if target is not None:
        used = SearchSpec(provenance.method, target, settings.seed, provenance.settings)
    used = used.quick() if settings.quick else used.complete()
    circuit = audited_circuit(experiment, kept, used, target, settings)
    opened = fingerprint(experiment)
    what = {
        "opened": opened,
        "circuit": circuit.kept.nonzero()[:, 0].tolist(),
        "search": {"method": used.method, "target": used.target, "settings": dict(used.settings)},
        "aimed": circuit.target,
        "settings": asdict(settings) | {"text": None},
    }
    text = "" if settings.text is None else text_sha256(settings.text)
    circuit = replace(circuit, log=AuditLog(what, text))
    if others is not None:
        circuit = replace(circuit, parallel_searches=_parallel_searches(circuit, opened, others))
    return Audit(circuit)


def _parallel_searches(
    circuit: AuditedCircuit, opened: Mapping[str, object], others: OtherProcesses
) -> ParallelSearches | None:
    """Returns workers for the searches that are left, None if this process should make them."""
    jobs = min(others.jobs or fitting_jobs(circuit.problem), len(searches_left(LINES, circuit)))
    if jobs < 2:
        return None
    # With as many prompts in a pass as here: sums of other batches may differ in their last digits.
    request = replace(others.request, batch=circuit.problem.batch_size)
    folder = None if circuit.log is None else circuit.log.folder
    environment = SearchEnvironment(request, others.file, opened, circuit.search, circuit.settings.quick, folder)
    return start_searches(environment, jobs, others.log)


def audited_circuit(
    experiment: Experiment, kept: Tensor, used: SearchSpec, target: float | None, settings: AuditSettings
) -> AuditedCircuit:
    """Returns the circuit `kept` `[node]` bool as an audit sees it, found for `target` (None: made by hand).

    Raises:
        UserError: the circuit is empty, or the text cannot be read.
    """
    problem = experiment.problem
    if not kept.any():
        raise UserError("audit: the circuit is empty; find one first")
    if settings.text is not None:
        read_text(settings.text)
    unseen = Evaluator(problem, "unseen") if "unseen" in problem.splits else None
    return AuditedCircuit(
        problem, kept.clone(), experiment.train, experiment.test, unseen, used, target, settings
    )  # fmt: skip
