"""What version 0.1 wrote, copied to where a test can go on with it; each thing that it is about is opened once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from circuit_tui.core import demo
from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.jobs.job import Job, all_jobs
from circuit_tui.core.opening.experiment import Experiment, open_experiment
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.runs.order import RunOrder
from circuit_tui.core.runs.record import RunRecord
from circuit_tui.core.runs.worker import SweepWorker
from circuit_tui.core.workers.pool import Done, Event, Failed, attempt

FIXTURES = Path(__file__).parent.parent / "fixtures" / "version_0_1"


@pytest.fixture(scope="session")
def expected() -> Any:
    """The values that version 0.1 gave for what it had written."""
    return json.loads((FIXTURES / "expected.json").read_text())


def _opened(request: OpenRequest) -> tuple[Any, ...]:
    """All of a request that decides what is open: equal for equal experiments."""
    folders = request.sae_dirs or demo.sae_dirs()
    return (
        request.model and Path(request.model).resolve(),
        tuple(folder.resolve() for folder in folders),
        request.task,
        request.prompts and request.prompts.name,
        request.positions or "each",
        request.ablation,
        request.errors,
    )


@pytest.fixture(scope="session")
def experiments() -> Callable[..., Experiment]:
    """`open_experiment`, which opens equal requests once."""
    known: dict[tuple[Any, ...], Experiment] = {}

    def opened(
        request: OpenRequest,
        progress: Callable[[Any], None] = lambda stage: None,
        circuit: CircuitFile | None = None,
        loaded: Any = None,
    ) -> Experiment:
        key = _opened(request)
        if key not in known:
            known[key] = open_experiment(request, progress, circuit)
        if circuit is not None:  # a file that adds candidates would have needed an opening of its own
            problem = known[key].problem
            names = problem.alignment.names
            candidates = {
                (problem.sites[site].hook, names[position], latent)
                for site, position, latent in problem.space.coordinates()
            }
            assert candidates.issuperset(circuit.nodes())
        return known[key]

    return opened


@pytest.fixture
def files(tmp_path: Path, experiments: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files in a folder that is the working directory; commands that run there share what they open."""
    folder = tmp_path / "files"
    shutil.copytree(FIXTURES / "files", folder, copy_function=shutil.copy)
    (folder / "circuit-tui-demo").symlink_to(demo.model_dir())
    (folder / "saes").mkdir()
    for sae in demo.sae_dirs():
        (folder / "saes" / sae.name).symlink_to(sae)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for module in ("opening.experiment", "session.session", "runs.worker"):
        monkeypatch.setattr(f"circuit_tui.core.{module}.open_experiment", experiments)
    monkeypatch.setattr("circuit_tui.core.runs.worker.load_model_and_sites", lambda request, progress: None)
    return folder


@pytest.fixture
def sva_simple(files: Path, experiments: Callable[..., Experiment]) -> Experiment:
    """The built-in task ``sva-simple`` on the demo."""
    return experiments(OpenRequest(task="sva-simple"))


@pytest.fixture
def few(files: Path, experiments: Callable[..., Experiment]) -> Experiment:
    """The prompts of ``few.jsonl`` on the demo."""
    return experiments(OpenRequest(prompts=Path("few.jsonl")))


@pytest.fixture
def left_job(files: Path, tmp_path: Path) -> Callable[[str], Job]:
    """A function from a state of ``states/`` to its job, which lies where this user's jobs lie.

    What it had opened keeps the folders of the machine that wrote it.
    """

    def copied(state: str) -> Job:
        shutil.copytree(FIXTURES / "states" / state, tmp_path / "state", copy_function=shutil.copy)
        (path,) = (tmp_path / "state" / "circuit-tui" / "jobs").glob("*/job.json")
        written = json.loads(path.read_text())
        out = written["out"] and str(files / Path(written["out"]).name)
        path.write_text(json.dumps(written | {"folder": str(files), "out": out}))
        (job,) = all_jobs()
        return job

    return copied


@pytest.fixture
def left_work(files: Path, tmp_path: Path, expected: Any) -> Callable[[str], Path]:
    """A function from a state of ``states/`` to the folder of its unfinished work.

    The folder has the name that version 0.1 would have given it, had it been installed where this version is.
    """

    def copied(state: str) -> Path:
        shutil.copytree(FIXTURES / "states" / state, tmp_path / "state", copy_function=shutil.copy)
        about = expected["unfinished"][state]
        before = tmp_path / "state" / "circuit-tui" / "unfinished" / about["folder"]
        assert before.name == _folder_name(before.name.split("-")[0], about["what"]), "the rule of version 0.1"
        saes = demo.sae_dirs()[0].parent
        what = json.loads(json.dumps(about["what"]).replace(expected["program"]["demo_saes"], str(saes)))
        folder = before.with_name(_folder_name(before.name.split("-")[0], what))
        return before.rename(folder)

    return copied


def _folder_name(kind: str, what: Mapping[str, Any]) -> str:
    text = json.dumps(["0.1.0", what], sort_keys=True, ensure_ascii=False, default=str)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


class SameProcess:
    """A pool of one worker, which is this process."""

    def __init__(self) -> None:
        self._work = cache(SweepWorker)
        self._events: list[Event[RunRecord]] = []

    def start(self) -> int:
        return 0

    def pid(self, worker: int) -> int:
        return 0

    def submit(self, worker: int, order: RunOrder) -> None:
        record, error, traceback = attempt(self._work(), order, lambda step, steps: None)
        self._events.append(Failed(worker, error, traceback) if record is None else Done(worker, record))

    def events(self, seconds: float) -> list[Event[RunRecord]]:
        found, self._events = self._events, []
        return found

    def stop(self, worker: int) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def sweep_here(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps run in this process."""
    monkeypatch.setattr("circuit_tui.tui.commands.sweep._pool", lambda device, jobs, ray: (SameProcess(), 1))
