"""Runs one search in an open session and records it."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable

import torch

from circuit_tui.core.circuits.circuit_file import AblationPart, now
from circuit_tui.core.circuits.provenance import ABLATION_SOURCES, metrics_part, package_versions
from circuit_tui.core.jobs.resumable_work import ResumableWork, resumable_steps
from circuit_tui.core.runs.record import RunMachine, RunPoint, RunRecord, Subject, SubjectSite
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.session.session import Session
from circuit_tui.core.views import SearchProgress

Watch = Callable[[Search, SearchProgress], None]


def run_one(session: Session, spec: SearchSpec, watch: Watch = lambda search, step: None) -> RunRecord:
    """Searches and records; the session's circuit stays as it is. A run that was cut off goes on where it was.

    `watch` sees every step, and may call `stop` on the search, which ends it with what it has.

    Raises:
        UserError: the search is not worth beginning, or a metric has no value.
    """
    search = session.search(spec)
    with ResumableWork.claim("run", {"subject": session.subject(), "spec": spec.data()}) as work:
        with contextlib.closing(resumable_steps(search, work)) as steps:
            for step in steps:
                watch(search, step)
        result = search.result
        assert result is not None
        if result.stopped:
            work.leave()
    space, nodes = session.problem.space, sorted(result.nodes)
    return RunRecord(
        subject=subject_of(session),
        spec=spec,
        reached=result.reached,
        stopped=result.stopped,
        nodes=tuple((int(space.site[node]), int(space.position[node]), int(space.latent[node])) for node in nodes),
        train=metrics_part(result.train),
        test=metrics_part(result.test),
        points=tuple(
            RunPoint(size=point.size, train=point.train, test=point.test)
            for point in result.frontier
            if point.test is not None
        ),
        steps=result.steps,
        seconds=result.seconds,
        warnings=result.warnings,
        machine=RunMachine(system=platform.platform(), device=session.info.device, threads=torch.get_num_threads()),
        versions=package_versions(),
        created=now(),
    )


def subject_of(session: Session) -> Subject:
    """What is open in `session`."""
    problem, opened, info = session.problem, session.opened, session.info
    return Subject(
        model=opened.model_name,
        model_sha256=problem.model.weights_sha256,
        dtype=info.dtype,
        task=problem.task.name,
        prompts_sha256=problem.task.sha256,
        positions_kind=problem.alignment.kind,
        positions=problem.alignment.names,
        sites=tuple(
            SubjectSite(hook=site.hook, sae=site.sae.name, weights_sha256=site.sae.weights_sha256)
            for site in problem.sites
        ),
        ablation=AblationPart(kind=problem.ablation, errors=problem.errors, source=ABLATION_SOURCES[problem.ablation]),
        candidates=len(problem.space),
        n_train=info.train.n_prompts,
        n_test=info.test.n_prompts,
    )
