"""A pool of workers that are actors of a Ray cluster. Ray is optional, and imported only here."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from circuit_tui.core.errors import UserError
from circuit_tui.core.workers.pool import Done, Event, Failed, Lost, MakeWork, Order, Result, WorkerPool, attempt
from circuit_tui.core.workers.process_pool import threads_for

if TYPE_CHECKING:
    from types import ModuleType

LOCAL = "local"
CONNECT_SECONDS = 10.0


class RayPool(WorkerPool[Order, Result]):
    """Workers of a cluster that exists, or of one that is started on this machine.

    Every machine of the cluster needs this program, and the folders and prompts under the same paths.

    Args:
        address: of the cluster, or ``local`` to start one with `jobs` workers on this machine.
        make: makes the work in a worker.
        device: of the runs; a worker on CUDA reserves a GPU, or its share of one if there are more workers than GPUs.
        jobs: how many workers there will be; None means one for each GPU, or one for each machine without GPUs.

    Attributes:
        jobs: how many workers there will be.

    Raises:
        UserError: Ray is not installed, the cluster cannot be reached, or it has no GPU for a run on CUDA.
    """

    def __init__(self, address: str, make: MakeWork[Order, Result], device: str | None, jobs: int | None) -> None:
        self._ray = ray = _ray()
        _connect(ray, address, jobs or 1)
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = sum(machine.get("GPU", 0.0) for machine in machines) if _on_cuda(device) else 0.0
        if device is not None and _on_cuda(device) and not gpus:
            ray.shutdown()
            raise UserError(f"--device {device}: the Ray cluster has no GPU")
        self.jobs = jobs or int(gpus) or len(machines)
        each = -(-self.jobs // len(machines))
        self._threads = max(1, int(min(machine.get("CPU", 1.0) for machine in machines)) // each)
        share = min(1.0, gpus / self.jobs)
        self._actor = ray.remote(num_cpus=self._threads, num_gpus=share, max_restarts=0)(_Actor)
        self._make = make
        self._actors: dict[int, Any] = {}
        self._running: dict[Any, int] = {}
        self._started = 0

    @override
    def start(self) -> int:
        self._started += 1
        self._actors[self._started] = self._actor.remote(self._make, self._threads, os.getcwd())
        return self._started

    @override
    def pid(self, worker: int) -> int:
        return int(self._ray.get(self._actors[worker].pid.remote()))

    @override
    def submit(self, worker: int, order: Order) -> None:
        self._running[self._actors[worker].run.remote(order)] = worker

    @override
    def events(self, seconds: float) -> list[Event[Result]]:
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        return [self._event(reference, self._running.pop(reference)) for reference in ready]

    @override
    def stop(self, worker: int) -> None:
        self._ray.kill(self._actors.pop(worker))

    @override
    def close(self) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._ray.shutdown()

    def _event(self, reference: Any, worker: int) -> Event[Result]:
        try:
            result, error, traceback = self._ray.get(reference)
        except self._ray.exceptions.RayError as lost:
            del self._actors[worker]
            lines = [line.strip() for line in str(lost).splitlines() if line.strip()]
            return Lost(worker, f"its Ray worker was lost ({type(lost).__name__}: {lines[0] if lines else ''})")
        return Failed(worker, error, traceback) if error else Done(worker, result)


class _Actor:
    """A worker of the cluster."""

    def __init__(self, make: MakeWork[Any, Any], threads: int, folder: str) -> None:
        with contextlib.suppress(OSError):  # not on this machine: then no relative path of an order means anything here
            os.chdir(folder)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._work = make()

    def pid(self) -> int:
        """Returns the actor's process."""
        return os.getpid()

    def run(self, order: Any) -> tuple[Any, str, str]:
        """Runs an order as `attempt` does; a Ray worker reports no steps."""
        return attempt(self._work, order, lambda step, steps: None)


def _ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # without GPUs, CUDA is left as it is
    try:
        import ray
    except ImportError as error:
        raise UserError("--ray: Ray is not installed; pip install 'circuit-tui[ray]'") from error
    module: ModuleType = ray
    return module


def _connect(ray: ModuleType, address: str, jobs: int) -> None:
    _check_address(address)
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if address == LOCAL:
            ray.init(address=LOCAL, num_cpus=jobs * threads_for(jobs), include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--ray {address}: cannot be reached: {' '.join(str(error).split())}") from error


def _check_address(address: str) -> None:
    """Refuses an address where nobody listens; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--ray {address}: cannot be reached: {getattr(error, 'strerror', None) or error}") from error


def _on_cuda(device: str | None) -> bool:
    """Whether runs go to CUDA: it is asked for, or no device is and there may be one."""
    return device is None or device.startswith("cuda")
