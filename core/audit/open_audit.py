"""Opens an audit of a circuit of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from circuit_tui.core.audit.audit_log import AuditLog
from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.lines import lines_of, searches_left
from circuit_tui.core.audit.parallel_searches import ParallelSearches
from circuit_tui.core.audit.run import Audit
from circuit_tui.core.audit.search_processes import default_jobs, start_searches
from circuit_tui.core.audit.search_worker import SearchEnvironment
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.audit.texts import read_text, text_sha256
from circuit_tui.core.circuits.edges_schema import EdgesPart
from circuit_tui.core.circuits.provenance import Provenance
from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.opening.identity import comparable, fingerprint, fingerprint_0_1
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.found_by import spec_of
from circuit_tui.core.search.registry import DEFAULT_METHOD, DEFAULT_TARGET
from circuit_tui.core.search.spec import SearchSpec


@dataclass(frozen=True, slots=True)
class ParallelOptions:
    """How workers open the experiment of an audit, and how many of them may make its searches.

    Attributes:
        request: what to open.
        file: the circuit file that names it.
        jobs: the largest number of workers; None for as many as the machine allows (`default_jobs`).
        log: the file that takes what libraries print in workers.
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
    parallel: ParallelOptions | None = None,
    edges: EdgesPart | None = None,
) -> Audit:
    """Returns an audit of the circuit `kept` `[node]` bool, which has not begun.

    It searches as the circuit was found, or with quick settings if the audit is quick. It keeps what it measures, and
    goes on from what the same audit measured before it was cut off. With `parallel`, searches run in processes of their
    own, if at least two are left and there is room for them. `edges` are those that the circuit's file has.

    Raises:
        UserError: the circuit is empty, the text cannot be read, or the method that found the circuit is unknown here.
    """
    target = provenance.target
    spec = spec_of(provenance, settings.seed) or SearchSpec(DEFAULT_METHOD, DEFAULT_TARGET, settings.seed)
    spec = spec.quick() if settings.quick else spec.complete()
    audited = audited_circuit(experiment, kept, spec, target, settings, edges)
    identity = fingerprint(experiment)
    inputs = {
        "opened": comparable(identity),
        "circuit": audited.kept.nonzero()[:, 0].tolist(),
        "search": {key: value for key, value in spec.data().items() if key != "seed"},
        "aimed": audited.target,
        "settings": _recorded(settings),
    }
    if settings.edges and edges is not None:
        inputs["edges"] = edges.model_dump(mode="json", include={"ends", "values", "circuit"})
    text_hash = "" if settings.text is None else text_sha256(settings.text)
    inputs_0_1 = inputs | {"opened": fingerprint_0_1(experiment)}
    audited = replace(audited, log=AuditLog(inputs, text_hash, inputs_0_1))
    if parallel is not None:
        audited = replace(audited, parallel_searches=_parallel_searches(audited, identity, parallel))
    return Audit(audited)


def _recorded(settings: AuditSettings) -> dict[str, object]:
    """The settings by which a kept audit is known; what they say of newer lines only if those are measured."""
    recorded = asdict(settings) | {"text": None}
    if not settings.dictionaries:
        del recorded["dictionaries"]
    if not settings.edges:
        del recorded["edges"], recorded["edge_draws"]
    return recorded


def _parallel_searches(
    audited: AuditedCircuit, identity: Mapping[str, object], options: ParallelOptions
) -> ParallelSearches | None:
    """Returns workers for the searches that are left; None if this process should make them."""
    jobs = min(options.jobs or default_jobs(audited.problem), len(searches_left(lines_of(audited.settings), audited)))
    if jobs < 2:
        return None
    # As many prompts in a pass as here: sums over other batches may differ in their last digits.
    request = replace(options.request, batch=audited.problem.batch_size)
    folder = None if audited.log is None else audited.log.folder
    environment = SearchEnvironment(request, options.file, identity, audited.search, audited.settings.quick, folder)
    return start_searches(environment, jobs, options.log)


def audited_circuit(
    experiment: Experiment,
    kept: Tensor,
    spec: SearchSpec,
    target: float | None,
    settings: AuditSettings,
    edges: EdgesPart | None = None,
) -> AuditedCircuit:
    """Returns what an audit needs of the circuit `kept` `[node]` bool, found for `target` (None: made by hand).

    `edges` are those that its file has.

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
        problem, kept.clone(), experiment.train, experiment.test, unseen, spec, target, settings, edges
    )  # fmt: skip
