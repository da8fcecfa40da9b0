"""The folder of one job: who works on it, how far it is, what came of it. No torch.

The process that works on a job holds the lock in its folder, which the system takes back however the process ends. A
job that nobody holds and that has no outcome was cut off. Files are replaced as a whole, never written in place.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import shutil
import signal
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from circuit_tui.core.errors import UserError
from circuit_tui.core.jobs.spec import JobSpec, Kind, progress_of
from circuit_tui.core.jobs.state_dir import state_dir
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.runtime.file_lock import FileLock
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import SearchProgress

JobState = Literal["running", "unfinished", "done", "failed"]
_SPEC, _OUTCOME, _SESSION, _PROGRESS = "job.json", "outcome.json", "session.json", "progress.jsonl"


class Job:
    """A search or a session in a folder. `name` is unique on this machine and starts with the time of its making."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name
        self._lock = FileLock(folder / "lock")

    @property
    def spec(self) -> JobSpec:
        """What the job is about. Raises OSError or ValueError if its folder is damaged."""
        try:
            return JobSpec.of(json.loads((self.folder / _SPEC).read_text(encoding="utf-8")))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{self.folder / _SPEC}: not a job") from error

    def change(self, **changes: Any) -> None:
        """Replaces fields of the spec."""
        self._write(_SPEC, replace(self.spec, **changes).data())

    @property
    def state(self) -> JobState:
        """Where the job stands."""
        if self._lock.held_elsewhere:
            return "running"
        outcome = self._read(_OUTCOME)
        return "unfinished" if outcome is None else outcome["state"]

    @property
    def error(self) -> str:
        """Why it failed; empty if it did not."""
        return str((self._read(_OUTCOME) or {}).get("error", ""))

    @property
    def seen(self) -> bool:
        """Whether the user has seen the outcome."""
        return bool((self._read(_OUTCOME) or {}).get("seen", False))

    def mark_seen(self) -> None:
        """Records that the user has seen the outcome."""
        self._write(_OUTCOME, {**(self._read(_OUTCOME) or {}), "seen": True})

    @property
    def pid(self) -> int | None:
        """The process that works on the job, or did last."""
        return self._lock.pid

    @property
    def touched(self) -> float:
        """When anything in the folder last changed, in seconds since 1970."""
        times = [0.0]
        for path in (self.folder, *self.folder.glob("*")):
            with contextlib.suppress(OSError):
                times.append(path.stat().st_mtime)
        return max(times)

    @property
    def search_folder(self) -> Path:
        """Where the search keeps its checkpoints."""
        return self.folder / "search"

    @property
    def circuit(self) -> Path:
        """Where the circuit file of a detached search lies once it is done."""
        return self.folder / "circuit.json"

    @property
    def log(self) -> Path:
        """What a detached search would have printed."""
        return self.folder / "log"

    @property
    def session(self) -> dict[str, Any] | None:
        """The stored session; None if there is none."""
        return self._read(_SESSION)

    def store_session(self, state: dict[str, Any] | None) -> None:
        """Replaces the stored session; None removes it."""
        if state is None:
            (self.folder / _SESSION).unlink(missing_ok=True)
        else:
            self._write(_SESSION, state)

    def progress(self, start: int = 0) -> list[SearchProgress]:
        """Returns the reports written so far, without the first `start`."""
        try:
            lines = (self.folder / _PROGRESS).read_bytes().splitlines(keepends=True)[start:]
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                found.append(progress_of(json.loads(line)))
            except (ValueError, TypeError, KeyError):  # still being written, or cut off
                break
        return found

    def add_progress(self, progress: SearchProgress) -> None:
        """Adds one report."""
        with (self.folder / _PROGRESS).open("ab") as file:
            file.write(json.dumps(asdict(progress)).encode() + b"\n")

    def begin_search(self, search: SearchSpec, *, again: bool) -> Path:
        """Returns the folder for a search; unless it goes on `again`, the folder is emptied."""
        if not again:
            self.end_search()
        self.search_folder.mkdir(exist_ok=True)
        self.change(search=search)
        return self.search_folder

    def end_search(self) -> None:
        """Forgets the search; everything else in the job stays."""
        if self.spec.search is not None:
            self.change(search=None)
        self.drop_checkpoints()
        (self.folder / _PROGRESS).unlink(missing_ok=True)

    def drop_checkpoints(self) -> None:
        """Deletes what the search needs to go on."""
        shutil.rmtree(self.search_folder, ignore_errors=True)

    def finish(self, state: Literal["done", "failed"], error: str = "") -> None:
        """Records the outcome."""
        self._write(_OUTCOME, {"state": state, "error": error})

    def claim(self) -> bool:
        """Makes this process the one that works on the job, until it ends; returns False if another process does."""
        return self._lock.claim()

    def release(self, heir: int | None = None) -> None:
        """Lets another process work on the job: the child process `heir` alone, if it was handed over to one."""
        self._lock.release(heir)

    def hand_over(self) -> int:
        """Returns the open descriptor of the lock; a child process that inherits it holds the lock too."""
        return self._lock.hand_over()

    def inherit(self, descriptor: int) -> None:
        """Takes over from the parent process, which has handed `descriptor` over."""
        self._lock.inherit(descriptor)

    def stop(self) -> None:
        """Asks the process that works on the job to end with what it has.

        Raises:
            UserError: it runs on another machine, or cannot be reached.
        """
        host, pid = self.spec.host, self.pid
        if host != platform.node():
            raise UserError(f"the search runs on {host}: stop it there")
        if self.state == "running" and pid is not None:
            try:
                os.kill(pid, signal.SIGINT)
            except OSError as error:
                raise UserError(f"process {pid} cannot be stopped: {error.strerror}") from error

    def remove(self) -> None:
        """Deletes the folder. The file that makes it a job goes first, so that half a folder is no job."""
        (self.folder / _SPEC).unlink(missing_ok=True)
        self.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, name: str) -> dict[str, Any] | None:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((self.folder / name).read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else None
        return None

    def _write(self, name: str, data: dict[str, Any]) -> None:
        part = self.folder / f".{name}.{secrets.token_hex(4)}.tmp"
        part.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
        os.replace(part, self.folder / name)


def jobs_dir() -> Path:
    """Returns the folder of all jobs. Raises OSError as `state_dir` does."""
    return state_dir("jobs")


def new_job(
    kind: Kind, request: OpenRequest, search: SearchSpec | None, out: Path | None, *, force: bool = False
) -> Job:
    """Makes a job that this process works on.

    Raises:
        OSError: its folder cannot be made.
    """
    now = datetime.now(UTC)
    folder = jobs_dir() / f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    folder.mkdir()
    job = Job(folder)
    job.claim()
    wanted = None if out is None else Path.cwd() / out.expanduser()
    created = now.isoformat(timespec="seconds")
    job._write(_SPEC, JobSpec(kind, request, search, wanted, Path.cwd(), platform.node(), created, force=force).data())
    return job


def all_jobs() -> list[Job]:
    """Returns the jobs of this user, the last one touched first. Folders that are no jobs are left out."""
    found = []
    for folder in jobs_dir().iterdir():
        job = Job(folder)
        with contextlib.suppress(OSError, ValueError):
            _ = job.spec
            found.append(job)
    return sorted(found, key=lambda job: -job.touched)


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """Returns those of `jobs` whose search was cut off."""
    return [job for job in jobs if job.state == "unfinished" and job.spec.search is not None]
