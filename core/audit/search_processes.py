"""How many processes make an audit's searches, and with how many threads."""

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

MIN_CORES = 3
"""With fewer cores one process makes all searches. Every process opens model and SAEs for itself, and a single process
uses a second core for part of a search. On two cores that other programs kept busy, the audit of sva-rc took 358 s with
two processes and 328 s with one."""


def start_searches(environment: SearchEnvironment, jobs: int, log: Path | None) -> ParallelSearches:
    """Returns up to `jobs` workers for the searches of an audit; `log` takes what libraries print in them."""
    return ParallelSearches(ProcessPool(partial(SearchWorker, environment), threads_per_worker(jobs), log), jobs)


def threads_per_worker(jobs: int) -> int:
    """Returns the number of threads of each worker.

    As many as a search in this process has, so that sums come out the same, but at most its share of the cores.
    """
    return min(torch.get_num_threads(), threads_for(jobs))


def default_jobs(problem: Problem) -> int:
    """Returns how many searches of `problem` run at once unless the user says.

    On a CPU it is as many as there are cores for their threads, and memory if each takes as much as this process; it is
    one with fewer than `MIN_CORES` cores. On a GPU it is one, because more would share it.
    """
    if any(device.type != "cpu" for device in problem.model.devices) or cores() < MIN_CORES:
        return 1
    free = free_memory(problem.model.device)
    # Bytes on macOS, KiB elsewhere.
    used_here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    by_cores = cores() // torch.get_num_threads()
    return max(1, by_cores if free is None else min(by_cores, int(SHARE * free // used_here)))
