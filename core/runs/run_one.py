"""Runs one search in an experiment and records it."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable

import torch

from circuit_tui.core.circuits.circuit_file import now
from circuit_tui.core.circuits.schema import MetricsPart, Versions
from circuit_tui.core.jobs.resumable_work import ResumableWork, resumable_steps
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.opening.identity import comparable, fingerprint, fingerprint_0_1, identity_of
from circuit_tui.core.runs.record import RunMachine, RunPoint, RunRecord
from circuit_tui.core.runtime.machine import device_name
from circuit_tui.core.search.open_search import open_search
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import SearchProgress

WatchSearch = Callable[[Search, SearchProgress], None]


def run_one(experiment: Experiment, spec: SearchSpec, watch: WatchSearch = lambda search, step: None) -> RunRecord:
    """Runs the search of `spec` and returns its record. A run that was cut off goes on where it was.

    `watch` sees every step. It may call `stop` on the search, which then ends with what it has.

    Raises:
        UserError: the search is not worth beginning, or a metric has no value.
        CheckpointError: the run cannot go on from where it was cut off.
    """
    problem = experiment.problem
    search = open_search(problem, experiment.train, experiment.test, spec)
    what, what_0_1 = (
        {"subject": subject, "spec": spec.data()}
        for subject in (comparable(fingerprint(experiment)), fingerprint_0_1(experiment))
    )
    with ResumableWork.claim("run", what, what_0_1) as work:
        with contextlib.closing(resumable_steps(search, work)) as steps:
            for step in steps:
                watch(search, step)
        result = search.result
        assert result is not None
        if result.stopped:
            work.leave()
    space, nodes = problem.space, sorted(result.nodes)
    return RunRecord(
        subject=identity_of(experiment),
        spec=spec,
        reached=result.reached,
        stopped=result.stopped,
        nodes=tuple((int(space.site[node]), int(space.position[node]), int(space.latent[node])) for node in nodes),
        train=MetricsPart.of(result.train),
        test=MetricsPart.of(result.test),
        points=tuple(
            RunPoint(size=point.size, train=point.train, test=point.test)
            for point in result.frontier
            if point.test is not None
        ),
        steps=result.steps,
        seconds=result.seconds,
        warnings=result.warnings,
        machine=RunMachine(
            system=platform.platform(), device=device_name(problem.model.devices), threads=torch.get_num_threads()
        ),
        versions=Versions.installed(),
        created=now(),
    )
