"""What every test shares: no network, no more threads than a worker's share, and reproducible property tests."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli, Outcome
from hypothesis import HealthCheck, settings

# Set before any Hugging Face import: a test that reaches for the network must fail at once, not hang.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")

# Whoever runs the tests may ignore these (nohup, a job in the background), and so would every process they start.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if threading.current_thread() is threading.main_thread() and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

settings.register_profile("repo", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repo")

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: what runs last is short, so that all processes end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def examples_path() -> str:
    """The PYTHONPATH of a process that imports what ``tests/examples`` holds by name."""
    return os.pathsep.join(filter(None, (str(ROOT / "tests" / "examples"), os.environ.get("PYTHONPATH"))))


@pytest.fixture(scope="session")
def stories() -> Path:
    """A real model with SAEs and prompts that only some machines have: its folder, or the test is skipped."""
    folder = Path(os.environ.get("CIRCUIT_TUI_REAL", ROOT.parent / "shared" / "real")) / "stories260K"
    if not (folder / "model" / "config.json").is_file():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Logs, jobs and settings of the tests are not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """A function from arguments to an `Outcome`; logs go to the test's own folder."""
    from circuit_tui.tui.cli import main

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run(*args: object) -> Outcome:
        capfd.readouterr()
        code = main([str(arg) for arg in args])
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that makes every pass of more than so many prompts run out of memory, as a full card would."""
    import torch

    from circuit_tui.core.models.language_model import LanguageModel

    real = LanguageModel.run_blocks

    def set_limit(most: int) -> None:
        def blocks(self: LanguageModel, resid: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            if len(resid) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            return real(self, resid, *args, **kwargs)

        monkeypatch.setattr(LanguageModel, "run_blocks", blocks)

    return set_limit
