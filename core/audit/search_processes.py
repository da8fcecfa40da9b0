"""The processes that make an audit's searches beside its own: how many, and with how many threads."""

from __future__ import annotations

import resource
import sys
from functools import partial
from pathlib import Path

import torch

from circuit_tui.core.audit.parallel_searches import ParallelSearches
from circuit_tui.core.audit.search_worker import SearchEnvironment, SearchWorker
from circuit_tui.core.runtime.device_memory import SHARE, free_memory
from circuit_tui.core.runtime.machine import cores
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.workers.process_pool import ProcessPool, threads_for

WORTHWHILE_CORES = 3
"""Every process opens model and SAEs for itself, and one alone uses a second core for part of a search. On two that
other programs kept busy, the audit of sva-rc took 358 s with two processes and 328 s with one."""


def start_searches(environment: SearchEnvironment, jobs: int, log: Path | None) -> ParallelSearches:
    """Returns up to `jobs` workers for the searches of an audit; `log` takes what libraries print there."""
    return ParallelSearches(ProcessPool(partial(SearchWorker, environment), threads_each(jobs), log), jobs)


def threads_each(jobs: int) -> int:
    """Returns the threads of each worker: as many as a search in this process has, so that sums come out the same.

    Or its share of the cores, where that is less.
    """
    return min(torch.get_num_threads(), threads_for(jobs))


def fitting_jobs(problem: Problem) -> int:
    """Returns how many searches of `problem` are made at once, unless the user says.

    On a CPU as many as there are cores for the threads of each, and memory for as much as this process has taken; one
    with fewer than `WORTHWHILE_CORES`. On a GPU one: more would share it.
    """
    if any(device.type != "cpu" for device in problem.model.devices) or cores() < WORTHWHILE_CORES:
        return 1
    free = free_memory(problem.model.device)
    # Bytes on macOS, KiB elsewhere.
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    fitting = cores() // torch.get_num_threads()
    return max(1, fitting if free is None else min(fitting, int(SHARE * free // taken)))
